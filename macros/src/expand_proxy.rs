//! The asking side: `spawn` functions on the actor's type, and the proxy type with its methods.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, ext::IdentExt};

use crate::{
    callbacks::Callbacks,
    expand_type::{ProxyType, allowances, proxy_of},
    function::{Answer, Argument, Attributes, Function},
    interface::Interface,
};

/// Everything that the caller's process uses.
pub(crate) fn expand(interface: &Interface) -> TokenStream {
    let Interface {
        actor,
        name,
        generics,
        options,
        ..
    } = interface;
    let doc = format!(
        " The proxy of the actor `{}`: its methods are calls to it.",
        name.unraw()
    );
    let spawns = interface
        .constructors
        .iter()
        .map(|function| spawn(interface, function));
    let locals = interface
        .constructors
        .iter()
        .map(|function| local(interface, function));
    let methods = interface.methods.iter().map(|function| {
        let method = method(name, function, &Through::Own);
        let vis = &function.vis;
        method.with_vis(&quote!(#vis))
    });
    let proxy = ProxyType {
        ident: &interface.proxy(),
        vis: &options.vis,
        doc: &doc,
        generics,
        face: &quote! {
            ::callboard::__private::Face::Actor(
                &<#actor as ::callboard::__private::Actor>::INTERFACE
            )
        },
        traits: &options.traits,
    };
    let accessors = interface.parts().accessors();
    let callbacks = Callbacks {
        of: name,
        proxy: &interface.proxy(),
        vis: &options.vis,
        generics,
        methods: &interface.methods,
    };
    let (callback, callbacks) = (callbacks.accessor(), callbacks.expand());
    let proxy = proxy.expand(&quote!(#(#methods)* #accessors #callback));
    let offers = offers(interface);
    let settings = options.settings.function();
    let (impls, _, bounds) = generics.split_for_impl();
    let allowances = allowances();
    quote! {
        #allowances
        impl #impls #actor #bounds {
            #(#spawns)*
            #(#locals)*
            #settings
        }

        #proxy

        #callbacks

        #offers
    }
}

/// Which number the first method of each trait has.
fn offers(interface: &Interface) -> TokenStream {
    let (impls, _, bounds) = interface.generics.split_for_impl();
    let proxy = interface.proxy_type();
    let own = interface.methods.len();
    let proxies: Vec<_> = interface.options.traits.iter().map(proxy_of).collect();
    let offers = proxies.iter().enumerate().map(|(place, of)| {
        let before = &proxies[..place];
        quote! {
            impl #impls ::callboard::__private::Offers<#of> for #proxy #bounds {
                const FIRST: u16 = {
                    #of::__requires::<Self>();
                    ::callboard::__private::first(#own, &[
                        #(<#before as ::callboard::__private::TraitProxy>::INTERFACE.methods),*
                    ])
                };
            }
        }
    });
    quote!(#(#offers)*)
}

/// `spawn` for `new`, `spawn_x` for `x`.
fn spawn(interface: &Interface, function: &Function) -> TokenStream {
    let Interface { actor, name, .. } = interface;
    let Function { vis, index, .. } = function;
    let proxy = interface.proxy_type();
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
    let start = quote!(::callboard::Spawn::#new::<#actor>(#index, #arguments));
    let start = interface.options.settings.told(start);
    quote! {
        #attributes
        #vis fn #spawn_name #lifetime (#parameters)
            -> ::callboard::Spawn<#proxy, #arguments_type #error>
        {
            #start
        }
    }
}

/// `local` for `new`, `local_x` for `x`.
///
/// How such an actor is run depends on its future, which is known only here.
fn local(interface: &Interface, function: &Function) -> TokenStream {
    let Interface { actor, name, .. } = interface;
    let Function { vis, index, .. } = function;
    let proxy = interface.proxy_type();
    let doc = format!(
        " Starts a `{}` by its constructor `{}`, as a task of this process.",
        name.unraw(),
        function.ident.unraw()
    );
    let attributes = attributes(&function.attributes, &doc);
    let local_name = function.local_name();
    let (parameters, arguments) = (parameters(function), values(function));
    let arguments_type = sent_type(function);
    let lifetime = function.borrows().then(|| quote!(<'call>));
    let (error, new) = match &function.answer {
        Answer::Value(_) => (None, quote!(new)),
        Answer::Result { error, .. } => (Some(quote!(, #error)), quote!(new_fallible)),
    };
    let start = interface.options.settings.told(quote! {
        ::callboard::Local::#new::<#actor>(#index, #arguments, |seat| {
            #[allow(unused_imports, reason = "one of the two is used")]
            use ::callboard::__private::{RunInTask as _, RunInThread as _};
            (&::callboard::__private::Runner::new(
                ::callboard::__private::run_local::<#actor>,
            )).start(seat)
        })
    });
    quote! {
        #attributes
        #vis fn #local_name #lifetime (#parameters)
            -> ::callboard::Local<#proxy, #arguments_type #error>
        {
            #start
        }
    }
}

/// From where a method makes its call.
pub(crate) enum Through<'a> {
    /// From the proxy whose table numbers it.
    Own,
    /// From any proxy that offers the trait of this one.
    Trait(&'a TokenStream),
}

/// A method of a proxy, in two halves around its visibility.
pub(crate) struct Method {
    attributes: TokenStream,
    function: TokenStream,
}

impl Method {
    pub(crate) fn with_vis(&self, vis: &TokenStream) -> TokenStream {
        let Self {
            attributes,
            function,
        } = self;
        quote!(#attributes #vis #function)
    }
}

/// The method of the proxy: it makes a call, which does nothing before it is awaited.
pub(crate) fn method(owner: &Ident, function: &Function, through: &Through<'_>) -> Method {
    let Function { index, ident, .. } = function;
    let doc = format!(" Calls `{}::{}`.", owner.unraw(), ident.unraw());
    let (parameters, arguments) = (parameters(function), values(function));
    let arguments_type = sent_type(function);
    // One lifetime for the proxy and for what is lent: the call borrows all of it.
    let (generics, receiver, lifetime) = if function.borrows() {
        (Some(quote!(<'call>)), quote!(&'call self), quote!('call))
    } else {
        (None, quote!(&self), quote!('_))
    };
    let Made {
        call,
        ty,
        answer,
        before,
        behind,
    } = Made::of(function);
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
    let made = match through {
        Through::Own => quote!(self.handle.#call(#index, #arguments #behind)),
        Through::Trait(proxy) => quote! {
            ::callboard::Proxy::__handle(self).#call(
                <Self as ::callboard::__private::Offers<#proxy>>::FIRST + #index,
                #arguments #behind
            )
        },
    };
    let before = before.map(|()| quote!(let mut __feeds = ::callboard::__private::Feeds::new();));
    Method {
        attributes: attributes(&function.attributes, &doc),
        function: quote! {
            fn #ident #generics (#receiver, #parameters)
                -> ::callboard::#ty<#lifetime, #arguments_type, #answer #mark>
            {
                #before
                #made #marked
            }
        },
    }
}

/// How a method of the proxy makes its call, by what its streams are.
struct Made {
    /// The function that makes it.
    call: TokenStream,
    /// What that gives.
    ty: TokenStream,
    answer: TokenStream,
    /// Whether the streams that it takes are gathered first,
    before: Option<()>,
    /// and handed on behind the arguments.
    behind: Option<TokenStream>,
}

impl Made {
    fn of(function: &Function) -> Self {
        let answer = match &function.answer {
            Answer::Value(value) => quote!(#value),
            Answer::Result { ok, error } => quote!(#ok, #error),
        };
        let (name, ty, behind) = match (&function.stream, function.is_fed()) {
            (Some(_), true) => (
                "stream_call",
                quote!(StreamCall),
                Some(quote!(, ::core::option::Option::Some(__feeds))),
            ),
            (Some(_), false) => (
                "stream_call",
                quote!(StreamCall),
                Some(quote!(, ::core::option::Option::None)),
            ),
            (None, true) => ("feed_call", quote!(FeedCall), Some(quote!(, __feeds))),
            (None, false) => ("call", quote!(Call), None),
        };
        let call = match &function.answer {
            Answer::Value(_) => format_ident!("{name}"),
            Answer::Result { .. } => format_ident!("{name}_fallible"),
        };
        Self {
            call: quote!(#call),
            ty,
            answer,
            before: function.is_fed().then_some(()),
            behind,
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
        let Argument {
            name,
            ty,
            lent,
            fed,
            ..
        } = argument;
        match lent {
            Some(referent) => quote!(#name: &'call #referent),
            None => match fed {
                Some(item) => quote! {
                    #name: impl ::callboard::Stream<Item = #item>
                        + ::core::marker::Send
                        + 'static
                },
                None => quote!(#name: #ty),
            },
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
        let Argument {
            name, lent, fed, ..
        } = argument;
        match (lent, fed) {
            (Some(_), _) => quote!(::callboard::Lent::new(#name)),
            (None, Some(_)) => quote!(__feeds.add(#name)),
            (None, None) => quote!(#name),
        }
    });
    quote! { (#(#values,)*) }
}
