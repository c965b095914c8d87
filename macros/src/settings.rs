//! Options of `#[actor]` that hold for every start: `mailbox = 64` for `.mailbox(64)`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Error, Expr, ExprLit, Ident, Lit};

use crate::{durations::duration, refusals::Refusals};

/// The options, each of which is a function of the runtime's `Settings`.
pub(crate) const KNOWN: [&str; 18] = [
    "mailbox",
    "idle",
    "grace",
    "process_name",
    "stdout",
    "stderr",
    "current_dir",
    "greet_within",
    "link",
    "pin",
    "limits",
    "heartbeat",
    "listen",
    "listen_with",
    "advertise",
    "authkey",
    "connections",
    "blob_limit",
];

/// What every start of an actor is told before its caller says more.
#[derive(Default)]
pub(crate) struct Settings(Vec<TokenStream>);

impl Settings {
    /// Takes `key = value`, if it is one of these.
    pub(crate) fn take(&mut self, key: &Ident, value: &Expr, refusals: &mut Refusals) -> bool {
        let Some(name) = KNOWN.iter().find(|name| key == *name) else {
            return false;
        };
        // Where the compiler points if the value is of another type.
        let function = format_ident!("with_{name}", span = key.span());
        for value in each(name, value) {
            let value = refusals.take(read(name, value));
            let call = value.map(|value| quote_spanned!(key.span()=> .#function(#value)));
            self.0.extend(call);
        }
        true
    }

    /// `start` once it is told.
    pub(crate) fn told(&self, start: TokenStream) -> TokenStream {
        if self.0.is_empty() {
            return start;
        }
        quote!(Self::__settings(#start))
    }

    /// The function that tells a start all of it: one for all starts, so that what is wrong is said
    /// once.
    pub(crate) fn function(&self) -> Option<TokenStream> {
        let calls = &self.0;
        (!calls.is_empty()).then(|| {
            quote! {
                #[doc(hidden)]
                fn __settings<__S: ::callboard::__private::Settings>(__start: __S) -> __S {
                    __start #(#calls)*
                }
            }
        })
    }
}

/// The values of an option: several, where it may be said several times.
fn each<'a>(name: &str, value: &'a Expr) -> Vec<&'a Expr> {
    match value {
        Expr::Array(array) if matches!(name, "listen" | "listen_with" | "advertise") => {
            array.elems.iter().collect()
        }
        _ => vec![value],
    }
}

/// The value as it is given on. A literal is judged now, any other expression by the compiler.
fn read(name: &str, value: &Expr) -> syn::Result<TokenStream> {
    let literal = match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    };
    let refuse = |text: &str| Err(Error::new_spanned(value, text));
    match (name, literal) {
        ("grace" | "greet_within", _) => duration(value, &format!("`{name}`")),
        ("heartbeat", Some(_)) => duration(value, "`heartbeat`"),
        ("mailbox", Some(Lit::Int(count))) if count.base10_parse::<u64>().is_ok_and(|n| n == 0) => {
            refuse("a mailbox holds at least one call")
        }
        ("mailbox" | "connections" | "blob_limit", Some(Lit::Int(_)))
        | ("process_name" | "current_dir" | "listen" | "advertise", Some(Lit::Str(_))) => {
            Ok(quote!(#value))
        }
        ("listen" | "advertise", Some(_)) => refuse(&format!(
            "`{name}` takes an address, or several: `{name} = \"tcp://0.0.0.0:7000\"`"
        )),
        ("authkey", Some(_)) => refuse("`authkey` takes an `AuthKey`: a key in code is none"),
        ("listen_with", Some(_)) => refuse(
            "`listen_with` takes an address with its keys, or several: `listen_with = \
             (\"tcp://0.0.0.0:7000\", [key_of_partners()])`",
        ),
        ("connections", Some(_)) => refuse("`connections` takes a number"),
        ("blob_limit", Some(_)) => refuse("`blob_limit` takes a number of bytes"),
        ("mailbox", Some(_)) => {
            refuse("`mailbox` takes a number of calls, or a `Mailbox`: `Mailbox::messages(64)`")
        }
        ("process_name" | "current_dir", Some(_)) => refuse(&format!("`{name}` takes a text")),
        ("idle", Some(_)) => refuse("`idle` takes an `Idle`: `Idle::Park`"),
        ("pin", Some(_)) => refuse("`pin` takes a `Core`, or `Cores`: `Core(3)`"),
        ("limits", Some(_)) => refuse("`limits` takes `Limits`: `Limits::new().open_files(64)`"),
        ("link", Some(_)) => refuse("`link` takes a `LinkKind`: `LinkKind::Socket`"),
        ("stdout" | "stderr", Some(_)) => {
            refuse(&format!("`{name}` takes an `Output`: `Output::Null`"))
        }
        _ => Ok(quote!(#value)),
    }
}
