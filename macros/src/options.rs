//! The options of the attributes: `#[actor(name = "..")]`, `#[callboard::main(flavor = "..")]`.

use proc_macro2::TokenStream;
use syn::{
    Error, Expr, ExprLit, Ident, Lit, LitBool, LitInt, LitStr, Meta, Token, Visibility,
    parse::Parser, parse_quote, punctuated::Punctuated,
};

use crate::refusals::Refusals;

/// What `#[actor(..)]` was told.
pub(crate) struct ActorOptions {
    /// The name on the wire, where it is not to be the actor's path.
    pub(crate) name: Option<LitStr>,
    /// The visibility of the proxy type.
    pub(crate) vis: Visibility,
}

impl ActorOptions {
    pub(crate) fn read(tokens: TokenStream, refusals: &mut Refusals) -> Self {
        let mut options = Self {
            name: None,
            vis: parse_quote!(pub),
        };
        for (key, value) in pairs("#[actor]", &["name", "vis"], tokens, refusals) {
            let Some(text) = refusals.take(string(&key, &value)) else {
                continue;
            };
            if key == "name" {
                if text.value().is_empty() {
                    refusals.at(&text, "an actor's name is not empty");
                }
                options.name = Some(text);
            } else {
                match text.parse() {
                    Ok(vis) => options.vis = vis,
                    Err(_) => refusals.at(
                        &text,
                        "`vis` is a visibility: \"pub\", \"pub(crate)\", \"pub(super)\", ..",
                    ),
                }
            }
        }
        options
    }
}

/// Which tokio runtime an entry point starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    CurrentThread,
    MultiThread,
}

/// What `#[callboard::main(..)]` or `#[callboard::test(..)]` was told.
pub(crate) struct EntryOptions {
    pub(crate) flavor: Flavor,
    pub(crate) worker_threads: Option<LitInt>,
    /// Whether signals that ask the process to end end its actors first; only `main` knows it.
    pub(crate) signals: Option<LitBool>,
}

impl EntryOptions {
    pub(crate) fn read(
        attribute: &str,
        known: &[&str],
        default: Flavor,
        tokens: TokenStream,
        refusals: &mut Refusals,
    ) -> Self {
        let mut options = Self {
            flavor: default,
            worker_threads: None,
            signals: None,
        };
        for (key, value) in pairs(attribute, known, tokens, refusals) {
            if key == "flavor" {
                options.flavor = refusals.take(flavor(&key, &value)).unwrap_or(default);
            } else if key == "signals" {
                options.signals = refusals.take(truth(&key, &value));
            } else {
                options.worker_threads = refusals.take(thread_count(&value));
            }
        }
        if let (Flavor::CurrentThread, Some(count)) = (options.flavor, &options.worker_threads) {
            refusals.at(count, "`worker_threads` needs `flavor = \"multi_thread\"`");
        }
        options
    }
}

/// Reads `key = value, ..`, each key known and given once.
fn pairs(
    attribute: &str,
    known: &[&str],
    tokens: TokenStream,
    refusals: &mut Refusals,
) -> Vec<(Ident, Expr)> {
    let parsed = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens);
    let mut pairs: Vec<(Ident, Expr)> = Vec::new();
    for meta in refusals.take(parsed).into_iter().flatten() {
        let key = meta
            .path()
            .get_ident()
            .filter(|key| known.iter().any(|name| key == name));
        let Some(key) = key.cloned() else {
            let text = format!("unknown option: `{attribute}` takes {}", listed(known));
            refusals.at(meta.path(), &text);
            continue;
        };
        if pairs.iter().any(|(earlier, _)| *earlier == key) {
            refusals.at(&key, &format!("`{key}` is given twice"));
            continue;
        }
        match meta {
            Meta::NameValue(pair) => pairs.push((key, pair.value)),
            Meta::Path(_) | Meta::List(_) => {
                refusals.at(meta, &format!("`{key}` takes a value: `{key} = ..`"));
            }
        }
    }
    pairs
}

/// `` `a`, `b` and `c` ``
fn listed(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => "none".to_owned(),
    }
}

fn truth(key: &Ident, value: &Expr) -> syn::Result<LitBool> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Bool(truth),
            ..
        }) => Ok(truth.clone()),
        _ => Err(Error::new_spanned(
            value,
            format!("`{key}` takes `true` or `false`"),
        )),
    }
}

fn string(key: &Ident, value: &Expr) -> syn::Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text.clone()),
        _ => Err(Error::new_spanned(
            value,
            format!("`{key}` takes a string literal"),
        )),
    }
}

fn flavor(key: &Ident, value: &Expr) -> syn::Result<Flavor> {
    match string(key, value)?.value().as_str() {
        "current_thread" => Ok(Flavor::CurrentThread),
        "multi_thread" => Ok(Flavor::MultiThread),
        _ => Err(Error::new_spanned(
            value,
            "unknown flavour: there are \"current_thread\" and \"multi_thread\"",
        )),
    }
}

fn thread_count(value: &Expr) -> syn::Result<LitInt> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Int(count),
            ..
        }) if count.base10_parse::<usize>().is_ok_and(|count| count > 0) => Ok(count.clone()),
        _ => Err(Error::new_spanned(
            value,
            "`worker_threads` takes a number above 0",
        )),
    }
}
