//! The functions that an actor runs by itself: hooks such as `#[on_start]`, and periodic methods.
//!
//! A hook is never exposed. A periodic method is, if it has a visibility, like any other.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Attribute, Expr, Ident, ImplItemFn, Meta, ReturnType, Signature, Token, Type, parse::Parse,
    parse::ParseStream, spanned::Spanned,
};

use crate::{
    durations::duration, function::Attributes, function::refuse_qualifiers, refusals::Refusals,
    types::as_result,
};

/// A turn in an actor's life.
pub(crate) struct Moment {
    /// The attribute that marks its hook.
    mark: &'static str,
    /// Its name in callboard's `Moment` and `Hook`.
    pub(crate) variant: &'static str,
    /// The type of what the hook is given, if it wants it.
    pub(crate) gives: Option<&'static str>,
    /// Whether the hook is a call that the actor makes to itself.
    pub(crate) is_call: bool,
    /// Whether what the hook returns is left to the actor's next life.
    pub(crate) leaves: bool,
}

const MOMENTS: [Moment; 9] = [
    moment(RESTART, "Restart", Some("State"), false),
    moment("on_start", "Start", None, false),
    moment("on_stop", "Stop", None, false).leaving(),
    moment("on_failure", "Failure", Some("&PanicReport"), false).leaving(),
    moment("on_error", "Error", Some("&MethodError"), true),
    moment("on_unhandled", "Unhandled", Some("&UnknownCall"), true),
    moment("on_enter", "Enter", None, true),
    moment("on_exit", "Exit", Some("Option<&str>"), true),
    moment("on_end_asked", "EndAsked", None, true),
];

/// The mark of the hook that is given what the life before has left.
const RESTART: &str = "on_restart";

impl Moment {
    const fn leaving(self) -> Self {
        Self {
            leaves: true,
            ..self
        }
    }
}

const fn moment(
    mark: &'static str,
    variant: &'static str,
    gives: Option<&'static str>,
    is_call: bool,
) -> Moment {
    Moment {
        mark,
        variant,
        gives,
        is_call,
        leaves: false,
    }
}

/// What an actor runs by itself.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) timers: Vec<Timer>,
}

/// A function that runs at a turn of the actor's life.
pub(crate) struct Hook {
    pub(crate) moment: &'static Moment,
    pub(crate) own: Own,
}

/// A function that runs again and again.
pub(crate) struct Timer {
    pub(crate) own: Own,
    /// From start to start.
    pub(crate) period: TokenStream,
    /// Before the first time.
    pub(crate) delay: Option<TokenStream>,
}

/// How a function that the actor runs by itself is called.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) ident: Ident,
    pub(crate) is_async: bool,
    pub(crate) is_exclusive: bool,
    /// The type of what it takes, if it takes anything.
    pub(crate) takes: Option<Type>,
    /// The type of what it returns: not of an error, and not nothing.
    pub(crate) returns: Option<Type>,
    pub(crate) is_fallible: bool,
    pub(crate) attributes: Attributes,
    /// The parentheses around its arguments.
    pub(crate) span: Span,
}

impl Hooks {
    /// Takes the marks of hooks and timers off `function`, and notes them. True: it is a hook.
    pub(crate) fn take(&mut self, function: &mut ImplItemFn, refusals: &mut Refusals) -> bool {
        let mut marks = Vec::new();
        let mut every = Vec::new();
        function.attrs.retain(|attribute| {
            let moment = MOMENTS
                .iter()
                .find(|moment| attribute.path().is_ident(moment.mark));
            match moment {
                Some(moment) => marks.push((moment, attribute.clone())),
                None if attribute.path().is_ident("every") => every.push(attribute.clone()),
                None => return true,
            }
            false
        });
        if marks.is_empty() && every.is_empty() {
            return false;
        }
        let words = if marks.is_empty() { PERIODIC } else { HOOK };
        let Some(own) = Own::read(function, words, refusals) else {
            return true;
        };
        if !marks.iter().any(|(moment, _)| moment.leaves) {
            own.refuse_returns(words, refusals);
        }
        for (moment, attribute) in &marks {
            self.add_hook(moment, attribute, own.clone(), function, refusals);
        }
        for (place, attribute) in every.iter().enumerate() {
            if place > 0 {
                refusals.at(attribute, "`#[every]` is given twice");
            } else if marks.is_empty() {
                self.add_timer(attribute, own.clone(), function, refusals);
            } else {
                refusals.at(
                    attribute,
                    "a hook is not periodic: it needs a method of its own",
                );
            }
        }
        !marks.is_empty()
    }

    fn add_hook(
        &mut self,
        moment: &'static Moment,
        attribute: &Attribute,
        own: Own,
        function: &ImplItemFn,
        refusals: &mut Refusals,
    ) {
        let mark = moment.mark;
        if !matches!(attribute.meta, Meta::Path(_)) {
            refusals.at(attribute, &format!("`#[{mark}]` is written `#[{mark}]`"));
        }
        if mark == RESTART && own.takes.is_none() {
            let text = "`#[on_restart]` is given the state that the life before has left: \
                        `fn resume(&mut self, state: State)`";
            refusals.at(&function.sig.ident, text);
        }
        let given = moment.gives.into_iter().count();
        if let Some(surplus) = arguments(&function.sig).nth(given) {
            let text = match moment.gives {
                None => format!("`#[{mark}]` gives no arguments"),
                Some(_) if mark == RESTART => {
                    format!("`#[{mark}]` gives one argument, and that is the state")
                }
                Some(ty) => format!("`#[{mark}]` gives one argument, and that is a `{ty}`"),
            };
            refusals.at(surplus, &text);
        }
        let twin = self.hooks.iter().find(|hook| hook.moment.mark == mark);
        if let Some(twin) = twin
            && twin.own.attributes.present().is_none()
            && own.attributes.present().is_none()
        {
            let text = format!(
                "`#[{mark}]` is on `{}` already: one actor has one of each hook",
                twin.own.ident
            );
            refusals.at(attribute, &text);
        }
        self.hooks.push(Hook { moment, own });
    }

    fn add_timer(
        &mut self,
        attribute: &Attribute,
        own: Own,
        function: &ImplItemFn,
        refusals: &mut Refusals,
    ) {
        if let Some(surplus) = arguments(&function.sig).next() {
            refusals.at(surplus, "a periodic method is given no arguments");
        }
        let every = match &attribute.meta {
            Meta::List(list) => list.parse_args::<Every>().ok(),
            Meta::Path(_) | Meta::NameValue(_) => None,
        };
        let Some(Every { period, delay }) = every else {
            let text = "`#[every]` is written `#[every(\"500ms\")]`, or with any expression of \
                        type `Duration`, or `#[every(\"1s\", delay = \"10s\")]`";
            refusals.at(attribute, text);
            return;
        };
        let period = refusals.take(duration(&period, "a period"));
        let delay = delay.map(|delay| refusals.take(duration(&delay, "a delay")));
        let timer = Timer {
            own,
            period: period.unwrap_or_default(),
            delay: delay.map(Option::unwrap_or_default),
        };
        self.timers.push(timer);
    }

    /// Refuses what cannot be judged before all are known.
    pub(crate) fn check(&self, refusals: &mut Refusals) {
        if self.has_heirs() {
            return;
        }
        let leaving = || self.hooks.iter().filter(|hook| hook.moment.leaves);
        for (at, hook) in leaving().enumerate() {
            // A function may be several of them.
            if !leaving()
                .take(at)
                .any(|before| before.own.ident == hook.own.ident)
            {
                hook.own.refuse_returns(HOOK, refusals);
            }
        }
    }

    /// Whether a further life is given what the one before has left.
    pub(crate) fn has_heirs(&self) -> bool {
        self.has("Restart")
    }

    /// Whether there are calls that the actor makes to itself, or scopes to it.
    pub(crate) fn has_calls(&self) -> bool {
        !self.timers.is_empty() || self.hooks.iter().any(|hook| hook.moment.is_call)
    }

    pub(crate) fn has(&self, variant: &str) -> bool {
        self.hooks.iter().any(|hook| hook.moment.variant == variant)
    }
}

/// `"500ms", delay = "10s"`
struct Every {
    period: Expr,
    delay: Option<Expr>,
}

impl Parse for Every {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let period = input.parse()?;
        let mut delay = None;
        if input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let key: Ident = input.parse()?;
            if key != "delay" {
                return Err(syn::Error::new_spanned(key, "unknown option"));
            }
            input.parse::<Token![=]>()?;
            delay = Some(input.parse()?);
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self { period, delay })
    }
}

/// What a function is called in refusals.
type Words = (&'static str, &'static str);

const HOOK: Words = (
    "a hook",
    "a constructor is no hook: it runs before there is an actor",
);
const PERIODIC: Words = (
    "a periodic method",
    "a constructor is not periodic: it runs before there is an actor",
);

impl Own {
    /// None: it is not one, and has been refused.
    fn read(
        function: &ImplItemFn,
        (what, constructor): Words,
        refusals: &mut Refusals,
    ) -> Option<Self> {
        let signature = &function.sig;
        refuse_qualifiers(signature, refusals);
        let Some(receiver) = signature.receiver() else {
            let is_actor = matches!(&signature.output, ReturnType::Type(_, ty)
                if ty.to_token_stream().to_string().contains("Self"));
            if is_actor {
                refusals.at(&signature.ident, constructor);
            } else {
                let text = format!("{what} takes `&self` or `&mut self`");
                refusals.at(&signature.ident, &text);
            }
            return None;
        };
        let is_exclusive = match &receiver.kind {
            syn::ReceiverKind::Reference(_, None, mutability) => mutability.is_some(),
            _ => {
                refusals.at(
                    receiver,
                    &format!("{what} takes plain `&self` or `&mut self`"),
                );
                return None;
            }
        };
        let (is_fallible, returns) = match &signature.output {
            ReturnType::Default => (false, None),
            ReturnType::Type(_, ty) => match as_result(ty) {
                Some(result) => (true, result.ok.cloned()),
                None => (false, Some(Type::clone(ty))),
            },
        };
        let is_nothing = |ty: &Type| matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty());
        Some(Self {
            ident: signature.ident.clone(),
            is_async: signature.asyncness.is_some(),
            is_exclusive,
            takes: arguments(signature)
                .next()
                .map(|taken| Type::clone(&taken.ty)),
            returns: returns.filter(|ty| !is_nothing(ty)),
            is_fallible,
            attributes: Attributes::read(&function.attrs),
            span: arguments(signature)
                .next()
                .map_or_else(|| signature.paren_token.span.join(), Spanned::span),
        })
    }
}

impl Own {
    /// Refuses what it returns, of which nobody hears.
    fn refuse_returns(&self, (what, _): Words, refusals: &mut Refusals) {
        if let Some(ty) = self.returns.as_ref().filter(|_| !self.is_fallible) {
            let text = format!("{what} returns nothing or a `Result`: nobody waits for more");
            refusals.at(ty, &text);
        }
    }
}

fn arguments(signature: &Signature) -> impl Iterator<Item = &syn::PatType> {
    signature.inputs.iter().filter_map(|input| match input {
        syn::FnArg::Typed(typed) => Some(typed),
        syn::FnArg::Receiver(_) => None,
    })
}

/// Takes the marks of hooks and timers off a function of a trait, and refuses them.
pub(crate) fn refuse_marks(attributes: &mut Vec<Attribute>, refusals: &mut Refusals) {
    attributes.retain(|attribute| {
        let is_mark = |moment: &Moment| attribute.path().is_ident(moment.mark);
        if !MOMENTS.iter().any(is_mark) && !attribute.path().is_ident("every") {
            return true;
        }
        let text = "a trait has no hooks and no periodic methods: its actors have";
        refusals.at(attribute, text);
        false
    });
}
