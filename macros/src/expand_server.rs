//! The answering side: the `Actor` impl that runs in the actor's process, and its registration.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Index, LitStr, ext::IdentExt, spanned::Spanned};

use crate::{
    expand_hooks, expand_json,
    expand_type::proxy_of,
    function::{Answer, Function, Kind},
    helpers::Priority,
    interface::Interface,
    streams::StreamAnswer,
};

/// Everything that the actor's process uses.
pub(crate) fn expand(interface: &Interface) -> TokenStream {
    let Interface {
        actor, generics, ..
    } = interface;
    let (impls, _, bounds) = generics.split_for_impl();
    let proxy = interface.proxy_type();
    let table = table(interface);
    let construct = construct(interface);
    let constants = constants(interface);
    let hooks = expand_hooks::expand(&interface.hooks);
    let state_of = expand_hooks::state_of(interface);
    let runs = PHASES.map(|phase| {
        let others = others(interface, phase);
        let callee = Callee::own(&others, interface.hooks.has("Error"));
        phase.function(&interface.methods, &callee)
    });
    let registration = generics
        .params
        .is_empty()
        .then(|| quote!(::callboard::register!(#actor);));
    quote! {
        #constants

        #[allow(
            deprecated,
            reason = "deprecated functions are still there for those who call them"
        )]
        impl #impls ::callboard::__private::Actor for #actor #bounds {
            type Proxy = #proxy;

            #table

            #construct

            #hooks

            #(#runs)*
        }

        #state_of

        #registration
    }
}

/// What says how the methods of its parts are called and numbered, if it has parts.
fn constants(interface: &Interface) -> Option<TokenStream> {
    let Interface {
        actor, generics, ..
    } = interface;
    let (impls, _, bounds) = generics.split_for_impl();
    let parts = interface.parts();
    let constants = parts.constants();
    (!parts.nested.is_empty()).then(|| quote!(impl #impls #actor #bounds { #constants }))
}

/// What runs the methods that are none of the actor's own: those of its traits, and its hooks.
fn others(interface: &Interface, phase: Phase) -> TokenStream {
    let proxy = interface.proxy_type();
    let traits = interface.options.traits.iter().map(|path| {
        let (of, span) = (proxy_of(path), path.span());
        let mut name = phase.name("");
        name.set_span(span);
        let wait = phase.wait().map(|_| quote_spanned!(span=> .await));
        // Where the compiler points if the actor does not implement the trait: each time at the
        // same words, so that it says so once.
        quote_spanned! {span=>
            if let ::core::option::Option::Some(place) =
                ::callboard::__private::place_of::<#of, #proxy>(call.method())
            {
                return <#of as ::callboard::__private::Serves<Self>>::#name(
                    self,
                    place,
                    call,
                ) #wait;
            }
        }
    });
    let hooks = &interface.hooks;
    let other = match phase.kind {
        Kind::Exclusive if phase.waits && hooks.has_calls() => {
            quote!(::callboard::__private::run_exclusive(self, call).await)
        }
        Kind::Shared if phase.waits && hooks.has_calls() => {
            quote!(::callboard::__private::run_shared(self, call).await)
        }
        _ if hooks.has("Unhandled") => quote!(call.unknown_noted()),
        _ => quote!(call.unknown()),
    };
    let nested = interface.parts().runs(phase, &quote!(call.method()));
    quote!(#(#traits)* #nested #other)
}

/// One of the four ways to run a method.
#[derive(Clone, Copy)]
pub(crate) struct Phase {
    kind: Kind,
    waits: bool,
}

/// All ways to run a method.
pub(crate) const PHASES: [Phase; 4] = [
    Phase::new(Kind::Shared, false),
    Phase::new(Kind::Exclusive, false),
    Phase::new(Kind::Shared, true),
    Phase::new(Kind::Exclusive, true),
];

/// How the functions of a block or trait are called where they run.
pub(crate) struct Callee<'a> {
    /// `Self`, or `<A as Feline>`.
    pub(crate) path: TokenStream,
    /// `self`, or `actor`.
    pub(crate) receiver: TokenStream,
    /// Which number was asked for.
    pub(crate) number: TokenStream,
    /// The answer to other numbers.
    pub(crate) others: &'a TokenStream,
    /// Errors that no caller is told of may have a hook.
    pub(crate) notes_errors: bool,
}

impl<'a> Callee<'a> {
    fn own(others: &'a TokenStream, notes_errors: bool) -> Self {
        Self {
            path: quote!(Self),
            receiver: quote!(self),
            number: quote!(call.method()),
            others,
            notes_errors,
        }
    }
}

impl Phase {
    const fn new(kind: Kind, waits: bool) -> Self {
        Self { kind, waits }
    }

    /// `run_shared` and the like.
    pub(crate) fn name(self, prefix: &str) -> Ident {
        let kind = if self.kind == Kind::Exclusive {
            "exclusive"
        } else {
            "shared"
        };
        let verb = if self.waits { "await" } else { "run" };
        format_ident!("{prefix}{verb}_{kind}")
    }

    pub(crate) fn wait(self) -> Option<TokenStream> {
        self.waits.then(|| quote!(.await))
    }

    pub(crate) fn is_async(self) -> Option<TokenStream> {
        self.waits.then(|| quote!(async))
    }

    pub(crate) fn is_exclusive(self) -> Option<TokenStream> {
        (self.kind == Kind::Exclusive).then(|| quote!(mut))
    }

    fn function(self, methods: &[Function], callee: &Callee<'_>) -> TokenStream {
        let (name, is_async) = (self.name(""), self.is_async());
        let (exclusive, body) = (self.is_exclusive(), self.body(methods, callee));
        quote! {
            #is_async fn #name(
                & #exclusive self,
                call: ::callboard::__private::Incoming<'_>,
            ) -> ::callboard::__private::Answer {
                #body
            }
        }
    }

    /// Runs those of `methods` that run in this way.
    pub(crate) fn body(self, methods: &[Function], callee: &Callee<'_>) -> TokenStream {
        let Callee { number, others, .. } = callee;
        let mut methods = methods
            .iter()
            .filter(|method| method.kind == self.kind && method.waits() == self.waits)
            .peekable();
        if methods.peek().is_none() {
            return quote!(#others);
        }
        let arms = methods.map(|method| arm(method, callee));
        quote! {
            match #number {
                #(#arms)*
                _ => { #others }
            }
        }
    }
}

fn table(interface: &Interface) -> TokenStream {
    let name = wire_name(interface.options.name.as_ref(), &interface.name);
    let constructors = interface.constructors.iter().map(|one| entry(one, None));
    let methods = interface.methods.iter().map(|one| entry(one, None));
    let parts = interface.parts();
    let (traits, nested) = (&parts.before, parts.tables());
    let instance = if interface.generics.params.is_empty() {
        quote!(::core::option::Option::None)
    } else {
        quote!(::core::option::Option::Some(::core::any::type_name::<Self>))
    };
    quote! {
        const INTERFACE: ::callboard::__private::Interface = ::callboard::__private::Interface {
            name: #name,
            instance: #instance,
            constructors: &[#(#constructors),*],
            methods: &[#(#methods),*],
            parts: &[#(#traits,)* #(#nested),*],
        };
    }
}

/// The name of an actor or trait on the wire: what it was given, or its path.
pub(crate) fn wire_name(given: Option<&LitStr>, ident: &Ident) -> TokenStream {
    given.map_or_else(
        || {
            let path_end = format!("::{}", ident.unraw());
            quote!(::core::concat!(::core::module_path!(), #path_end))
        },
        |name| quote!(#name),
    )
}

/// A function's entry in its table; without a name where `#[cfg]` leaves the function out. In the
/// table of a trait it bears the trait's name.
pub(crate) fn entry(function: &Function, of_trait: Option<&TokenStream>) -> TokenStream {
    let (name, text) = (&function.wire_name, &function.text);
    let name = of_trait.map_or_else(
        || quote!(#name),
        |of_trait| quote!(::core::concat!(#of_trait, "::", #name)),
    );
    let exclusive = (function.kind == Kind::Exclusive).then(|| quote!(.exclusive()));
    let waits = (function.is_async || function.writes()).then(|| quote!(.waits()));
    let batch = function.batch.as_ref().map(|batch| {
        let max = Literal::u16_unsuffixed(batch.max);
        quote!(.batch(#max))
    });
    let version = function.version.iter();
    let priority = function
        .priority
        .iter()
        .map(|Priority(name)| quote!(.priority(::callboard::__private::Priority::#name)));
    let is_plain = function.stream.is_none() && !function.is_fed();
    let json = (cfg!(feature = "json") && is_plain && function.kind != Kind::Constructor)
        .then(|| expand_json::expand(function));
    let arguments = function.arguments_type();
    let (ok, error) = match &function.answer {
        Answer::Value(value) => (value, &quote!(())),
        Answer::Result { ok, error } => (ok, error),
    };
    let present = function.attributes.present();
    let absent = function.attributes.absent().map(|absent| {
        quote! { , #absent ::callboard::__private::Method::new("", 0) }
    });
    quote! {
        #present
        ::callboard::__private::Method::new(
            #name,
            ::callboard::__private::signature::<#arguments, #ok, #error>(#text),
        ) #exclusive #waits #batch #(.version(#version))* #(#priority)* #json
        #absent
    }
}

fn construct(interface: &Interface) -> TokenStream {
    let arms = interface.constructors.iter().map(|function| {
        let (index, present) = (&function.index, function.attributes.present());
        let arguments_type = function.arguments_type();
        let opened = if function.borrows() {
            let places = places(function);
            quote!(read_args::<#arguments_type, _>(body, |arguments| #places))
        } else {
            quote!(decode_args::<#arguments_type>(body))
        };
        let (made, wait) = (function.invoke(&quote!(Self), None), wait(function));
        let made = quote!(#made #wait);
        let made = match &function.answer {
            Answer::Value(_) => quote!(::core::result::Result::Ok(#made)),
            Answer::Result { error, .. } => quote! {
                ::core::result::Result::map_err(#made, |error| {
                    ::callboard::__private::Rejected::error::<#error>(&error)
                })
            },
        };
        let keep = (!function.arguments.is_empty()).then(|| quote!(let arguments =));
        quote! {
            #present
            #index => {
                #keep ::callboard::__private::#opened?;
                #made
            }
        }
    });
    quote! {
        async fn construct(
            index: u16,
            body: &[u8],
            context: ::callboard::Context,
        ) -> ::core::result::Result<Self, ::callboard::__private::Rejected> {
            match index {
                #(#arms)*
                _ => ::core::result::Result::Err(
                    ::callboard::__private::Rejected::unknown(index)
                ),
            }
        }
    }
}

/// What a method's number leads to where several calls of it run together.
fn batch_arm(function: &Function, callee: &Callee<'_>) -> TokenStream {
    let (index, present) = (&function.index, function.attributes.present());
    let arguments_type = function.arguments_type();
    let places: Vec<_> = (0..function.arguments.len()).map(Index::from).collect();
    let columns = function.arguments.iter().map(|argument| {
        let ty = &argument.ty;
        quote!(::callboard::__private::Vec::<#ty>::with_capacity(call.count()),)
    });
    let value = function.invoke(&callee.path, Some(&callee.receiver));
    let wait = wait(function);
    let gives = function.batch.as_ref().is_some_and(|batch| batch.gives);
    let run = if gives {
        let reply = reply(function, &quote!(results), callee.notes_errors);
        quote! {
            let results = #value #wait;
            batch.#reply.await
        }
    } else {
        quote! {
            #value #wait;
            batch.reply_nothing().await
        }
    };
    quote! {
        #present
        #index => {
            let mut arguments = (#(#columns)*);
            let opened = call.open_batch::<#arguments_type>(|one| {
                #(arguments.#places.push(one.#places);)*
            });
            match opened.await {
                ::core::result::Result::Ok(batch) => {
                    #run
                }
                ::core::result::Result::Err(refused) => refused,
            }
        }
    }
}

/// What a method's number leads to.
fn arm(function: &Function, callee: &Callee<'_>) -> TokenStream {
    if function.batch.is_some() {
        return batch_arm(function, callee);
    }
    let (index, present) = (&function.index, function.attributes.present());
    let opened = opened(function);
    let value = function.invoke(&callee.path, Some(&callee.receiver));
    let context = function
        .context_at
        .map(|_| quote!(let context = call.context();));
    let wait = wait(function);
    let reply = |value| match &function.stream {
        Some(stream) => write_stream(stream, &value),
        None => {
            let reply = reply(function, &quote!(&#value), callee.notes_errors);
            quote!(call.#reply)
        }
    };
    let pattern = if function.arguments.is_empty() {
        quote!(())
    } else {
        quote!(arguments)
    };
    let pattern = match &function.stream {
        Some(_) => quote!((#pattern, opening)),
        None => pattern,
    };
    let answer = if function.is_cancellable {
        let reply = reply(quote!(value));
        quote! {
            match call.unless_cancelled(#value).await {
                ::core::result::Result::Ok(value) => #reply,
                ::core::result::Result::Err(cancelled) => cancelled,
            }
        }
    } else {
        reply(quote!(#value #wait))
    };
    let answer = match context {
        Some(context) => quote!({ #context #answer }),
        None => answer,
    };
    quote! {
        #present
        #index => match call.#opened {
            ::core::result::Result::Ok(#pattern) => #answer,
            ::core::result::Result::Err(refused) => refused,
        },
    }
}

/// How a method's arguments are taken out of its call, with what opens its stream.
fn opened(function: &Function) -> TokenStream {
    let sent = function.sent_type();
    if !function.borrows() {
        return quote!(open::<#sent>());
    }
    let places = places(function);
    match &function.stream {
        None => quote!(read::<#sent, _>(|arguments| #places)),
        Some(_) => quote! {
            read::<#sent, _>(|sent| {
                let opening = ::callboard::__private::own::<
                    ::core::option::Option<::callboard::__private::Opening>
                >(&sent.1)?;
                let arguments = &sent.0;
                ::core::result::Result::map(#places, |arguments| (arguments, opening))
            })
        },
    }
}

/// How a stream is answered with.
fn write_stream(stream: &StreamAnswer, value: &TokenStream) -> TokenStream {
    let StreamAnswer {
        put,
        is_apart,
        failure,
    } = stream;
    let write = |value: &TokenStream| {
        if *is_apart {
            quote!(call.stream_apart(opening, #value, #put))
        } else {
            quote!(call.stream(opening, #value, #put).await)
        }
    };
    let Some(error) = failure else {
        return write(value);
    };
    let (written, text) = (write(&quote!(stream)), expand_hooks::text(&quote!(error)));
    quote! {
        match #value {
            ::core::result::Result::Ok(stream) => #written,
            ::core::result::Result::Err(error) => call.reply_result::<(), #error>(
                &::core::result::Result::Err(error),
                |error| #text,
            ),
        }
    }
}

/// How its result is answered with.
fn reply(function: &Function, value: &TokenStream, noted: bool) -> TokenStream {
    match &function.answer {
        Answer::Value(ty) => quote!(reply::<#ty>(#value)),
        Answer::Result { ok, error } => {
            let text = expand_hooks::text(&quote!(error));
            let text = quote!(|error| #text);
            if noted {
                let name = function.ident.unraw().to_string();
                quote!(reply_result_noted::<#ok, #error>(#value, #text, #name))
            } else {
                quote!(reply_result::<#ok, #error>(#value, #text))
            }
        }
    }
}

fn wait(function: &Function) -> Option<TokenStream> {
    function.is_async.then(|| quote!(.await))
}

/// The arguments out of their archive: what is borrowed stays there, the others are copied out.
fn places(function: &Function) -> TokenStream {
    let places = function
        .arguments
        .iter()
        .enumerate()
        .map(|(place, argument)| {
            let (place, ty) = (Index::from(place), &argument.ty);
            match &argument.lent {
                Some(lent) => {
                    quote!(<#lent as ::callboard::__private::Lend>::see(&arguments.#place))
                }
                None => quote!(::callboard::__private::own::<#ty>(&arguments.#place)?),
            }
        });
    quote! { ::core::result::Result::Ok((#(#places,)*)) }
}
