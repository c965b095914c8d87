//! The answering side: the `Actor` impl that runs in the actor's process, and its registration.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Index, ext::IdentExt};

use crate::{
    expand_hooks,
    function::{Answer, Function, Kind},
    interface::Interface,
};

/// Everything that the actor's process uses.
pub(crate) fn expand(interface: &Interface) -> TokenStream {
    let Interface { actor, name, .. } = interface;
    let proxy = format_ident!("{name}Proxy");
    let table = table(interface);
    let construct = construct(interface);
    let hooks = expand_hooks::expand(&interface.hooks);
    let run_shared = run(interface, Kind::Shared, false);
    let run_exclusive = run(interface, Kind::Exclusive, false);
    let await_shared = run(interface, Kind::Shared, true);
    let await_exclusive = run(interface, Kind::Exclusive, true);
    quote! {
        #[allow(
            deprecated,
            reason = "deprecated functions are still there for those who call them"
        )]
        impl ::callboard::__private::Actor for #actor {
            type Proxy = #proxy;

            #table

            #construct

            #hooks

            fn run_shared(
                &self,
                call: ::callboard::__private::Incoming<'_>,
            ) -> ::callboard::__private::Answer {
                #run_shared
            }

            fn run_exclusive(
                &mut self,
                call: ::callboard::__private::Incoming<'_>,
            ) -> ::callboard::__private::Answer {
                #run_exclusive
            }

            async fn await_shared(
                &self,
                call: ::callboard::__private::Incoming<'_>,
            ) -> ::callboard::__private::Answer {
                #await_shared
            }

            async fn await_exclusive(
                &mut self,
                call: ::callboard::__private::Incoming<'_>,
            ) -> ::callboard::__private::Answer {
                #await_exclusive
            }
        }

        const _: () = {
            #[::callboard::__private::linkme::distributed_slice(::callboard::__private::ACTORS)]
            #[linkme(crate = ::callboard::__private::linkme)]
            static ENTRY: ::callboard::__private::ActorType =
                ::callboard::__private::ActorType::of::<#actor>();
        };
    }
}

fn table(interface: &Interface) -> TokenStream {
    let name = match &interface.options.name {
        Some(name) => quote!(#name),
        None => {
            let path_end = format!("::{}", interface.name.unraw());
            quote!(::core::concat!(::core::module_path!(), #path_end))
        }
    };
    let constructors = interface.constructors.iter().map(entry);
    let methods = interface.methods.iter().map(entry);
    quote! {
        const INTERFACE: ::callboard::__private::Interface = ::callboard::__private::Interface {
            name: #name,
            constructors: &[#(#constructors),*],
            methods: &[#(#methods),*],
        };
    }
}

/// A function's entry in its table; without a name where `#[cfg]` leaves the function out.
fn entry(function: &Function) -> TokenStream {
    let (name, text) = (&function.wire_name, &function.text);
    let exclusive = (function.kind == Kind::Exclusive).then(|| quote!(.exclusive()));
    let waits = function.is_async.then(|| quote!(.waits()));
    let version = function.version.iter();
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
        ) #exclusive #waits #(.version(#version))*
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
        let (made, wait) = (function.invoke(None), wait(function));
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

/// The body that runs the methods of one kind and answers a number that is none of them.
fn run(interface: &Interface, kind: Kind, waits: bool) -> TokenStream {
    let methods = || {
        interface
            .methods
            .iter()
            .filter(|function| function.kind == kind && function.is_async == waits)
    };
    let hooks = &interface.hooks;
    let other = match kind {
        Kind::Exclusive if waits && hooks.has_calls() => {
            quote!(::callboard::__private::run_exclusive(self, call).await)
        }
        Kind::Shared if waits && hooks.has_calls() => {
            quote!(::callboard::__private::run_shared(self, call).await)
        }
        _ if hooks.has("Unhandled") => quote!(call.unknown_noted()),
        _ => quote!(call.unknown()),
    };
    if methods().next().is_none() {
        return other;
    }
    let arms = methods().map(|function| {
        let (index, present) = (&function.index, function.attributes.present());
        let arguments_type = function.arguments_type();
        let opened = if function.borrows() {
            let places = places(function);
            quote!(read::<#arguments_type, _>(|arguments| #places))
        } else {
            quote!(open::<#arguments_type>())
        };
        let value = function.invoke(Some(&quote!(self)));
        let context = function
            .context_at
            .map(|_| quote!(let context = call.context();));
        let wait = wait(function);
        let reply = |value| reply(function, &value, hooks.has("Error"));
        let pattern = if function.arguments.is_empty() {
            quote!(())
        } else {
            quote!(arguments)
        };
        let answer = if function.is_cancellable {
            let reply = reply(quote!(value));
            quote! {
                match call.unless_cancelled(#value).await {
                    ::core::result::Result::Ok(value) => call.#reply,
                    ::core::result::Result::Err(cancelled) => cancelled,
                }
            }
        } else {
            let reply = reply(quote!(#value #wait));
            quote!(call.#reply)
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
    });
    quote! {
        match call.method() {
            #(#arms)*
            _ => #other,
        }
    }
}

/// How its result is answered with.
fn reply(function: &Function, value: &TokenStream, noted: bool) -> TokenStream {
    match &function.answer {
        Answer::Value(ty) => quote!(reply::<#ty>(&#value)),
        Answer::Result { ok, error } => {
            let text = expand_hooks::text(&quote!(error));
            let text = quote!(|error| #text);
            if noted {
                let name = function.ident.unraw().to_string();
                quote!(reply_result_noted::<#ok, #error>(&#value, #text, #name))
            } else {
                quote!(reply_result::<#ok, #error>(&#value, #text))
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
