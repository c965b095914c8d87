//! One exposed function of an actor: its name, arguments and answer, read or refused.
//!
//! It does not know what the types mean: whether an argument can travel is the compiler's to say,
//! by the `Message` bounds in the expansion.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, Ident, Index, LitInt, Meta, MetaList, Pat, PatType, ReturnType, Safety,
    Signature, Type, Visibility, ext::IdentExt, parse_quote, parse_str, spanned::Spanned,
};

use crate::{
    batch::{self, Batched},
    helpers::{Helpers, Priority},
    lent::Lent,
    refusals::Refusals,
    streams::{StreamAnswer, streamed},
    types::{Place, as_result, compact, last_segment, refuse_unowned, replace_self},
};

/// As many as std's traits and rkyv's know as a tuple.
const ARGUMENT_COUNT_MAX: usize = 12;

/// An exposed function: a constructor or a method.
pub(crate) struct Function {
    pub(crate) kind: Kind,
    /// Its number in calls, a `u16`: its place among the functions of its table.
    pub(crate) index: Literal,
    pub(crate) vis: Visibility,
    /// Its name in the block, with the user's span.
    pub(crate) ident: Ident,
    pub(crate) is_async: bool,
    pub(crate) attributes: Attributes,
    /// Its name in the tables that two builds compare.
    pub(crate) wire_name: String,
    /// What its signature means, if that has changed.
    pub(crate) version: Option<LitInt>,
    /// It is dropped where it waits when its call is cancelled.
    pub(crate) is_cancellable: bool,
    /// Its callers may make a call of it again.
    pub(crate) is_idempotent: bool,
    /// At which place among its parameters it asks for its call's context.
    pub(crate) context_at: Option<usize>,
    pub(crate) priority: Option<Priority>,
    /// How its calls run together, if they do: it takes and gives a `Vec` of each type here.
    pub(crate) batch: Option<Batched>,
    /// The parentheses around the arguments, where the compiler points if one cannot travel.
    pub(crate) span: Span,
    pub(crate) arguments: Vec<Argument>,
    /// Of a method that returns a stream, what its call gives item by item.
    pub(crate) answer: Answer,
    pub(crate) stream: Option<StreamAnswer>,
    /// Name and types as written, for the signature's hash: `add(u64)->u64`.
    pub(crate) text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Makes the actor; has no receiver.
    Constructor,
    /// `&self`: runs beside others of its kind.
    Shared,
    /// `&mut self`: runs alone.
    Exclusive,
}

/// A function as it stands in a block or in a trait.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) vis: &'a Visibility,
    pub(crate) attributes: &'a [Attribute],
    pub(crate) signature: &'a Signature,
}

/// The attributes of a function that hold for its counterpart on the proxy too.
#[derive(Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) docs: Vec<Attribute>,
    /// `#[deprecated]`, `#[must_use = ".."]`, allowed lints.
    pub(crate) others: Vec<Attribute>,
    /// The `#[cfg]` conditions, all of which have to hold.
    pub(crate) conditions: Vec<TokenStream>,
}

/// An argument as the proxy takes it.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    /// What travels, as an owned type.
    pub(crate) ty: TokenStream,
    /// What the proxy lends to the call, and the method borrows from the message: `str` for `&str`.
    pub(crate) lent: Option<TokenStream>,
    /// The type of its items, if it is a stream.
    pub(crate) fed: Option<TokenStream>,
    /// What travels, for the signature's hash.
    text: String,
}

/// What a function returns, without its `async`.
pub(crate) enum Answer {
    /// A value; there is no error of the actor's own.
    Value(TokenStream),
    /// A `Result`; both are types.
    Result { ok: TokenStream, error: TokenStream },
}

impl Function {
    pub(crate) fn read(
        kind: Kind,
        index: u16,
        written: Written<'_>,
        helpers: Helpers,
        actor: &Type,
        refusals: &mut Refusals,
    ) -> Self {
        let batch = helpers.batch.as_ref();
        let batch = batch.filter(|_| kind != Kind::Constructor);
        let single =
            batch.map(|batch| batch::single(&batch.attribute, written.signature, refusals));
        let signature = single.as_ref().unwrap_or(written.signature);
        if kind != Kind::Constructor && signature.ident == "shutdown" {
            let text = "`shutdown` is the proxy's own: it ends the actor";
            refusals.at(&signature.ident, text);
        }
        if kind == Kind::Constructor {
            helpers.refuse_on_constructor(refusals);
        }
        refuse_qualifiers(signature, refusals);
        let arguments = arguments(kind, signature, actor, refusals);
        let stream = match &signature.output {
            ReturnType::Type(_, ty) => StreamAnswer::read(kind, ty, actor, refusals),
            ReturnType::Default => None,
        };
        let (stream, answer) = match stream {
            Some((stream, answer)) => (Some(stream), answer),
            None => (None, answer(kind, &signature.output, actor, refusals)),
        };
        if stream.is_some() || arguments.iter().any(|argument| argument.fed.is_some()) {
            helpers.refuse_on_streams(refusals);
        }
        if let Some(cancellable) = &helpers.cancellable
            && (kind == Kind::Constructor || signature.asyncness.is_none())
        {
            let text = "only an async method waits, and can be dropped where it does";
            refusals.at(cancellable, text);
        }
        if let Some(idempotent) = &helpers.idempotent
            && kind == Kind::Constructor
        {
            let text = "a constructor is run once: it is not made again";
            refusals.at(idempotent, text);
        }
        if let (Some(_), Some(cancellable)) = (batch, &helpers.cancellable) {
            let text = "a batch runs for several callers: it is not dropped when one gives up";
            refusals.at(cancellable, text);
        }
        let wire_name = match &helpers.name {
            Some(name) => name.value(),
            None => signature.ident.unraw().to_string(),
        };
        Self {
            // A batch runs alone, whatever it borrows.
            kind: batch.map_or(kind, |_| Kind::Exclusive),
            index: Literal::u16_unsuffixed(index),
            vis: written.vis.clone(),
            ident: signature.ident.clone(),
            is_async: signature.asyncness.is_some(),
            attributes: Attributes::read(written.attributes),
            span: signature.paren_token.span.join(),
            answer,
            stream,
            text: text(&wire_name, signature, &arguments, actor),
            arguments,
            wire_name,
            version: helpers.version,
            is_cancellable: helpers.cancellable.is_some(),
            is_idempotent: helpers.idempotent.is_some(),
            context_at: context_at(signature, refusals),
            batch: batch.map(|batch| Batched {
                max: batch.max,
                gives: batch::gives(&written.signature.output),
            }),
            priority: helpers.priority,
        }
    }

    /// Whether it is run as a future.
    pub(crate) fn waits(&self) -> bool {
        self.is_async || self.batch.is_some() || self.writes()
    }

    /// Whether its stream is written where the actor is.
    pub(crate) fn writes(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.is_apart)
    }

    /// The name of the function that starts an actor by this constructor.
    pub(crate) fn spawn_name(&self) -> Ident {
        match self.ident.unraw().to_string().as_str() {
            "new" => Ident::new("spawn", self.ident.span()),
            other => format_ident!("spawn_{other}", span = self.ident.span()),
        }
    }

    /// The name of the function that starts an actor by this constructor as a task.
    pub(crate) fn local_name(&self) -> Ident {
        match self.ident.unraw().to_string().as_str() {
            "new" => Ident::new("local", self.ident.span()),
            other => format_ident!("local_{other}", span = self.ident.span()),
        }
    }

    /// Whether the method borrows arguments from its message.
    pub(crate) fn borrows(&self) -> bool {
        self.arguments
            .iter()
            .any(|argument| argument.lent.is_some())
    }

    /// Whether it takes streams.
    pub(crate) fn is_fed(&self) -> bool {
        self.arguments.iter().any(|argument| argument.fed.is_some())
    }

    /// The user's function on what was opened as `arguments`, which are named by place so that no
    /// name can collide; and on `context`, where it asks for it. `path` is `Self`, or
    /// `<A as Feline>`.
    pub(crate) fn invoke(&self, path: &TokenStream, receiver: Option<&TokenStream>) -> TokenStream {
        let ident = &self.ident;
        let given = self.arguments.iter().enumerate();
        let given = given.map(|(place, argument)| {
            let place = Index::from(place);
            match &argument.fed {
                Some(item) => quote!(call.streamed::<#item>(arguments.#place)),
                None => quote!(arguments.#place),
            }
        });
        let mut given: Vec<_> = given.collect();
        if let Some(at) = self.context_at {
            given.insert(at, quote!(&context));
        }
        let receiver = receiver.into_iter();
        quote! { #path::#ident(#(#receiver,)* #(#given),*) }
    }

    /// The arguments as they travel, as one type: `(u64, String,)`.
    pub(crate) fn arguments_type(&self) -> TokenStream {
        let types = self.arguments.iter().map(|argument| &argument.ty);
        quote_spanned! { self.span=> (#(#types,)*) }
    }

    /// What travels, as one type: behind the arguments stands what opens a stream.
    pub(crate) fn sent_type(&self) -> TokenStream {
        let arguments = self.arguments_type();
        match &self.stream {
            None => arguments,
            Some(_) => quote_spanned! { self.span=>
                (#arguments, ::core::option::Option<::callboard::__private::Opening>)
            },
        }
    }
}

impl Attributes {
    pub(crate) fn read(written: &[Attribute]) -> Self {
        let mut read = Self::default();
        for attribute in written {
            let Some(name) = attribute.path().get_ident() else {
                continue;
            };
            match (name.to_string().as_str(), &attribute.meta) {
                ("doc", _) => read.docs.push(attribute.clone()),
                ("cfg", Meta::List(list)) => read.conditions.push(list.tokens.clone()),
                // A call is `must_use` by itself; only a reason adds something.
                ("must_use", Meta::Path(_)) => {}
                ("deprecated" | "must_use" | "allow", _) => read.others.push(attribute.clone()),
                // What is expected in the block may be absent on the proxy.
                ("expect", Meta::List(MetaList { tokens, .. })) => {
                    read.others.push(parse_quote!(#[allow(#tokens)]));
                }
                _ => {}
            }
        }
        read
    }

    /// `#[cfg]` for what exists only together with the function.
    pub(crate) fn present(&self) -> Option<TokenStream> {
        let conditions = &self.conditions;
        (!conditions.is_empty()).then(|| quote! { #[cfg(all(#(#conditions),*))] })
    }

    /// `#[cfg]` for what stands in where the function is left out.
    pub(crate) fn absent(&self) -> Option<TokenStream> {
        let conditions = &self.conditions;
        (!conditions.is_empty()).then(|| quote! { #[cfg(not(all(#(#conditions),*)))] })
    }
}

pub(crate) fn refuse_qualifiers(signature: &Signature, refusals: &mut Refusals) {
    if let Safety::Unsafe(token) = &signature.safety {
        let text = "a function that is called from another process cannot be `unsafe`: nobody \
                    there can keep its promises";
        refusals.at(token, text);
    }
    if let Some(abi) = &signature.abi {
        refusals.at(
            abi,
            "a function of an actor is called by callboard: no `extern` here",
        );
    }
    if !signature.generics.params.is_empty() {
        let text = "a function of an actor is not generic: the caller's process cannot make \
                    new code here";
        refusals.at(&signature.generics, text);
    } else if let Some(clause) = &signature.generics.where_clause {
        refusals.at(clause, "a function of an actor has no `where` clause");
    }
}

/// The parameters but for the receiver.
fn parameters(signature: &Signature) -> impl Iterator<Item = &PatType> {
    signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    })
}

/// Where the function asks for its call's context: no caller gives it.
fn context_at(signature: &Signature, refusals: &mut Refusals) -> Option<usize> {
    let mut asking = parameters(signature).enumerate();
    let (at, typed) = asking.find(|(_, typed)| is_context(&typed.ty))?;
    if let Type::Reference(reference) = &*typed.ty
        && (reference.mutability.is_some() || reference.lifetime.is_some())
    {
        refusals.at(reference, "a call's context is asked for as `&Context`");
    }
    if let Some((_, again)) = asking.find(|(_, typed)| is_context(&typed.ty)) {
        refusals.at(again, "one `&Context` says all about the call");
    }
    Some(at)
}

fn arguments(
    kind: Kind,
    signature: &Signature,
    actor: &Type,
    refusals: &mut Refusals,
) -> Vec<Argument> {
    let typed = || parameters(signature).filter(|typed| !is_context(&typed.ty));
    if let Some(surplus) = typed().nth(ARGUMENT_COUNT_MAX) {
        let text = "at most 12 arguments: put them into a `#[message]` struct";
        refusals.at(surplus, text);
    }
    let mut taken: Vec<Ident> = typed().filter_map(|typed| plain_name(&typed.pat)).collect();
    let mut arguments = Vec::new();
    for (place, typed) in typed().enumerate() {
        if let Some(cfg) = typed
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("cfg"))
        {
            refusals.at(
                cfg,
                "an argument is always there: put the `#[cfg]` on the function",
            );
        }
        let name = plain_name(&typed.pat).unwrap_or_else(|| {
            let name = free_name(place, typed.pat.span(), &taken);
            taken.push(name.clone());
            name
        });
        if kind == Kind::Constructor && streamed(&typed.ty).is_some() {
            let text = "a constructor takes no stream: give it to a method";
            refusals.at(&typed.ty, text);
        }
        arguments.push(argument(name, &typed.ty, actor, refusals));
    }
    arguments
}

fn argument(name: Ident, written: &Type, actor: &Type, refusals: &mut Refusals) -> Argument {
    let ty = replace_self(written.to_token_stream(), actor);
    let text = compact(&ty);
    if let Some(item) = streamed(written) {
        refuse_unowned(item, Place::Argument, refusals);
        return Argument {
            name,
            ty: quote!(::callboard::__private::Feed),
            lent: None,
            fed: Some(replace_self(item.to_token_stream(), actor)),
            text,
        };
    }
    match Lent::read(written, actor, refusals) {
        Some(lent) => Argument {
            name,
            ty: lent.owned,
            lent: Some(lent.referent),
            fed: None,
            text: lent.text,
        },
        None => Argument {
            name,
            ty,
            lent: None,
            fed: None,
            text,
        },
    }
}

/// Whether a parameter is the call's context: it goes by the name alone.
pub(crate) fn is_context(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else {
        return false;
    };
    let last = last_segment(&reference.elem);
    last.is_some_and(|last| last.ident == "Context" && last.arguments.is_none())
}

/// The name that a pattern gives the whole argument: `x` for `x`, `mut x`, `_x` and `x @ ..`.
fn plain_name(pattern: &Pat) -> Option<Ident> {
    let Pat::Ident(pattern) = pattern else {
        return None;
    };
    // An argument that the method does not use is one that the proxy does use.
    let mut name = parse_str(pattern.ident.to_string().trim_start_matches('_'))
        .unwrap_or_else(|_| pattern.ident.clone());
    name.set_span(pattern.ident.span());
    Some(name)
}

/// A name for an argument whose pattern has none.
fn free_name(place: usize, span: Span, taken: &[Ident]) -> Ident {
    let mut name = format!("argument_{place}");
    while taken.iter().any(|other| *other == name) {
        name.push('_');
    }
    Ident::new(&name, span)
}

fn answer(kind: Kind, output: &ReturnType, actor: &Type, refusals: &mut Refusals) -> Answer {
    let ty = match output {
        ReturnType::Default => return Answer::Value(quote!(())),
        ReturnType::Type(_, ty) => ty,
    };
    refuse_unowned(ty, Place::Result, refusals);
    let owned = |ty: &dyn ToTokens| replace_self(ty.to_token_stream(), actor);
    let whole = owned(ty);
    // What a constructor makes stays where it is: its answer carries no value.
    let unit = (kind == Kind::Constructor).then(|| quote!(()));
    let Some(result) = as_result(ty) else {
        return Answer::Value(unit.unwrap_or(whole));
    };
    let part = |name: Ident| quote!(<#whole as ::callboard::__private::IsResult>::#name);
    let ok = match result.ok {
        Some(ok) => owned(ok),
        None => part(format_ident!("Ok")),
    };
    let error = match result.error {
        Some(error) => owned(error),
        None => part(format_ident!("Err")),
    };
    Answer::Result {
        ok: unit.unwrap_or(ok),
        error,
    }
}

fn text(name: &str, signature: &Signature, arguments: &[Argument], actor: &Type) -> String {
    let types: Vec<_> = arguments
        .iter()
        .map(|argument| argument.text.as_str())
        .collect();
    let returned = replace_self(signature.output.to_token_stream(), actor);
    format!("{}({}){}", name, types.join(","), compact(returned))
}
