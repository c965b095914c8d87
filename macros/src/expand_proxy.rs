//! The asking side: `spawn` functions on the actor's type, and the proxy type with its methods.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;

use crate::{
    function::{Answer, Argument, Attributes, Function},
    interface::Interface,
};

/// Everything that the caller's process uses.
pub(crate) fn expand(interface: &Interface) -> TokenStream {
    let Interface {
        actor,
        name,
        options,
        ..
    } = interface;
    let vis = &options.vis;
    let proxy = format_ident!("{name}Proxy");
    let proxy_doc = format!(
        " The proxy of the actor `{}`: its methods are calls to it.",
        name.unraw()
    );
    let spawns = interface
        .constructors
        .iter()
        .map(|function| spawn(interface, function));
    let methods = interface
        .methods
        .iter()
        .map(|function| method(interface, function));
    let shutdown = shutdown();
    let allowances = allowances();
    quote! {
        #allowances
        impl #actor {
            #(#spawns)*
        }

        #[doc = #proxy_doc]
        #allowances
        #[derive(
            ::core::clone::Clone,
            ::core::fmt::Debug,
            ::core::cmp::PartialEq,
            ::core::cmp::Eq,
            ::core::hash::Hash,
        )]
        #vis struct #proxy {
            handle: ::callboard::__private::Handle,
        }

        #allowances
        impl #proxy {
            #(#methods)*
            #shutdown
        }

        impl ::callboard::Proxy for #proxy {
            fn __from_handle(handle: ::callboard::__private::Handle) -> Self {
                Self { handle }
            }

            fn __handle(&self) -> &::callboard::__private::Handle {
                &self.handle
            }
        }
    }
}

/// Lints that the user answers in the block itself, and that would say the same twice here.
fn allowances() -> TokenStream {
    quote! {
        #[allow(
            dead_code,
            deprecated,
            private_bounds,
            private_interfaces,
            clippy::same_name_method,
            reason = "the proxy repeats the signatures of the actor"
        )]
    }
}

/// `spawn` for `new`, `spawn_x` for `x`.
fn spawn(interface: &Interface, function: &Function) -> TokenStream {
    let Interface { actor, name, .. } = interface;
    let Function { vis, index, .. } = function;
    let proxy = format_ident!("{name}Proxy");
    let doc = format!(
        " Starts a `{}` by its constructor `{}`.",
        name.unraw(),
        function.ident.unraw()
    );
    let attributes = attributes(&function.attributes, &doc);
    let spawn_name = function.spawn_name();
    let (parameters, arguments) = (parameters(function), values(function));
    let arguments_type = sent_type(function);
    let lifetime = function.borrows().then(|| quote!(<'call>));
    let (error, new) = match &function.answer {
        Answer::Value(_) => (None, quote!(new)),
        Answer::Result { error, .. } => (Some(quote!(, #error)), quote!(new_fallible)),
    };
    quote! {
        #attributes
        #vis fn #spawn_name #lifetime (#parameters)
            -> ::callboard::Spawn<#proxy, #arguments_type #error>
        {
            ::callboard::Spawn::#new::<#actor>(#index, #arguments)
        }
    }
}

/// The method of the proxy: it makes a call, which does nothing before it is awaited.
fn method(interface: &Interface, function: &Function) -> TokenStream {
    let Function {
        vis, index, ident, ..
    } = function;
    let doc = format!(" Calls `{}::{}`.", interface.name.unraw(), ident.unraw());
    let attributes = attributes(&function.attributes, &doc);
    let (parameters, arguments) = (parameters(function), values(function));
    let arguments_type = sent_type(function);
    // One lifetime for the proxy and for what is lent: the call borrows all of it.
    let (generics, receiver, lifetime) = if function.borrows() {
        (Some(quote!(<'call>)), quote!(&'call self), quote!('call))
    } else {
        (None, quote!(&self), quote!('_))
    };
    let (answer, call) = match &function.answer {
        Answer::Value(value) => (quote!(#value), quote!(call)),
        Answer::Result { ok, error } => (quote!(#ok, #error), quote!(call_fallible)),
    };
    let (mark, marked) = match (function.is_idempotent, &function.answer) {
        (false, _) => (None, None),
        (true, Answer::Value(_)) => (
            Some(quote!(, ::core::convert::Infallible, ::callboard::Idempotent)),
            Some(quote!(.idempotent())),
        ),
        (true, Answer::Result { .. }) => (
            Some(quote!(, ::callboard::Idempotent)),
            Some(quote!(.idempotent())),
        ),
    };
    quote! {
        #attributes
        #vis fn #ident #generics (#receiver, #parameters)
            -> ::callboard::Call<#lifetime, #arguments_type, #answer #mark>
        {
            self.handle.#call(#index, #arguments) #marked
        }
    }
}

fn shutdown() -> TokenStream {
    quote! {
        /// Ends the actor, and returns when its process has ended.
        ///
        /// # Errors
        ///
        /// If the actor did not end in order.
        ///
        /// # Cancel safety
        ///
        /// Dropping the future stops the waiting, not the ending.
        pub async fn shutdown(&self) -> ::callboard::Result<()> {
            ::core::result::Result::map_err(
                self.handle.shutdown().await,
                ::core::convert::Into::into,
            )
        }
    }
}

/// The function's own attributes; `doc` where it has no documentation.
fn attributes(attributes: &Attributes, doc: &str) -> TokenStream {
    let Attributes { docs, others, .. } = attributes;
    let present = attributes.present();
    let doc = docs.is_empty().then(|| quote!(#[doc = #doc]));
    quote! { #present #doc #(#docs)* #(#others)* }
}

/// `by: u64, text: &'call str`
fn parameters(function: &Function) -> TokenStream {
    let parameters = function.arguments.iter().map(|argument| {
        let Argument { name, ty, lent, .. } = argument;
        match lent {
            Some(referent) => quote!(#name: &'call #referent),
            None => quote!(#name: #ty),
        }
    });
    quote! { #(#parameters),* }
}

/// `(u64, Lent<'call, str>,)`
fn sent_type(function: &Function) -> TokenStream {
    if !function.borrows() {
        return function.arguments_type();
    }
    let types = function.arguments.iter().map(|argument| {
        let Argument { ty, lent, .. } = argument;
        match lent {
            Some(referent) => quote!(::callboard::Lent<'call, #referent>),
            None => quote!(#ty),
        }
    });
    quote_spanned! { function.span=> (#(#types,)*) }
}

/// `(by, Lent::new(text),)`
fn values(function: &Function) -> TokenStream {
    let values = function.arguments.iter().map(|argument| {
        let Argument { name, lent, .. } = argument;
        match lent {
            Some(_) => quote!(::callboard::Lent::new(#name)),
            None => quote!(#name),
        }
    });
    quote! { (#(#values,)*) }
}
