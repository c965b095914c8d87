//! Both sides of a trait: its proxy, and what runs its methods in the processes of its actors.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Generics, Ident, ext::IdentExt};

use crate::{
    callbacks::Callbacks,
    expand_proxy::{Through, method},
    expand_server::{Callee, PHASES, Phase, entry, wire_name},
    expand_type::{ProxyType, allowances, proxy_of},
    trait_interface::TraitInterface,
};

/// The trait as it was written, then both sides of it or all refusals at once.
pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    let (item, read) = TraitInterface::read(options, item);
    match read {
        Ok(interface) => {
            let proxy = proxy(&interface);
            let calls = calls(&interface);
            // Its futures run on one thread of the actor's process: nobody asks whether they are
            // `Send`.
            quote! {
                #[allow(
                    async_fn_in_trait,
                    clippy::needless_pass_by_value,
                    clippy::unused_async,
                    reason = "the shape of an actor's methods is its interface"
                )]
                #item
                #proxy
                #calls
            }
        }
        Err(refused) => {
            let refused = refused.to_compile_error();
            quote! { #item #refused }
        }
    }
}

impl TraitInterface {
    fn proxy(&self) -> Ident {
        format_ident!("{}Proxy", self.ident)
    }
}

fn proxy(interface: &TraitInterface) -> TokenStream {
    let TraitInterface {
        ident,
        vis,
        options,
        methods,
    } = interface;
    let proxy = interface.proxy();
    let doc = format!(
        " The proxy of every actor that offers [`{0}`]: its methods are calls to the actor.",
        ident.unraw()
    );
    let calls = methods
        .iter()
        .map(|function| method(ident, function, &Through::Own).with_vis(&quote!(#vis)));
    let runs = PHASES.map(|phase| run(interface, phase));
    let supers: Vec<_> = options.supertraits.iter().map(proxy_of).collect();
    let ty = ProxyType {
        ident: &proxy,
        vis,
        doc: &doc,
        generics: &Generics::default(),
        face: &quote! {
            ::callboard::__private::Face::Trait(
                &<#proxy as ::callboard::__private::TraitProxy>::INTERFACE
            )
        },
        traits: &options.supertraits,
    };
    let required = std::iter::once(quote!(#proxy)).chain(supers.iter().map(|of| quote!(#of)));
    let callbacks = Callbacks {
        of: ident,
        proxy: &proxy,
        vis,
        generics: &Generics::default(),
        methods,
    };
    let (callback, callbacks) = (callbacks.accessor(), callbacks.expand());
    let ty = ty.expand(&quote! {
        #(#calls)*
        #callback

        #[doc(hidden)]
        #vis const fn __requires<__P>()
        where
            __P: #(::callboard::__private::Offers<#required>)+*
        {
        }
    });
    let (table, offers) = (table(interface, &supers), offers(interface, &supers));
    quote! {
        #ty #callbacks #table #offers

        #[allow(
            unused_variables,
            clippy::unused_async,
            reason = "not every kind has methods"
        )]
        impl<__A: #ident> ::callboard::__private::Serves<__A> for #proxy {
            #(#runs)*
        }
    }
}

/// What runs the methods of one kind for an actor `A`.
fn run(interface: &TraitInterface, phase: Phase) -> TokenStream {
    let TraitInterface { ident, methods, .. } = interface;
    let (name, is_async, exclusive) = (phase.name(""), phase.is_async(), phase.is_exclusive());
    let others = quote!(call.unknown());
    let body = phase.body(
        methods,
        &Callee {
            path: quote!(<__A as #ident>),
            receiver: quote!(actor),
            number: quote!(place),
            others: &others,
            // Which actors have one is not known here; of an actor that has none, nothing comes.
            notes_errors: true,
        },
    );
    quote! {
        #is_async fn #name(
            actor: & #exclusive __A,
            place: u16,
            call: ::callboard::__private::Incoming<'_>,
        ) -> ::callboard::__private::Answer {
            #body
        }
    }
}

fn table(interface: &TraitInterface, supers: &[syn::Path]) -> TokenStream {
    let proxy = interface.proxy();
    let name = wire_name(interface.options.name.as_ref(), &interface.ident);
    let methods = interface
        .methods
        .iter()
        .map(|function| entry(function, Some(&name)));
    quote! {
        impl ::callboard::__private::TraitProxy for #proxy {
            const INTERFACE: ::callboard::__private::Interface =
                ::callboard::__private::Interface {
                    name: #name,
                    instance: ::core::option::Option::None,
                    constructors: &[],
                    methods: &[#(#methods),*],
                    parts: &[
                        #(<#supers as ::callboard::__private::TraitProxy>::INTERFACE.methods),*
                    ],
                };
        }
    }
}

/// The proxy of a trait offers the trait itself, and its supertraits.
fn offers(interface: &TraitInterface, supers: &[syn::Path]) -> TokenStream {
    let proxy = interface.proxy();
    let own = interface.methods.len();
    let supers = supers.iter().enumerate().map(|(place, of)| {
        let before = &supers[..place];
        quote! {
            impl ::callboard::__private::Offers<#of> for #proxy {
                const FIRST: u16 = {
                    #of::__requires::<Self>();
                    ::callboard::__private::first(#own, &[
                        #(<#before as ::callboard::__private::TraitProxy>::INTERFACE.methods),*
                    ])
                };
            }
        }
    });
    quote! {
        impl ::callboard::__private::Offers<Self> for #proxy {
            const FIRST: u16 = 0;
        }

        #(#supers)*
    }
}

/// The trait that gives the methods to every proxy whose actor has them.
fn calls(interface: &TraitInterface) -> TokenStream {
    let TraitInterface {
        ident,
        vis,
        methods,
        ..
    } = interface;
    let (proxy, name) = (interface.proxy(), format_ident!("{ident}Calls"));
    let doc = format!(
        " The methods of [`{0}`] on the proxy of each actor that offers it, as [`{proxy}`] has \
         them.",
        ident.unraw()
    );
    let through = quote!(#proxy);
    let methods = methods.iter().map(|function| {
        method(ident, function, &Through::Trait(&through)).with_vis(&TokenStream::new())
    });
    let allowances = allowances();
    quote! {
        #[doc = #doc]
        #allowances
        #vis trait #name: ::callboard::__private::Offers<#proxy> {
            #(#methods)*
        }

        impl<__P: ::callboard::__private::Offers<#proxy>> #name for __P {}
    }
}
