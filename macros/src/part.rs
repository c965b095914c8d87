//! Both sides of a part: the impl block of `#[actor_part]`, its proxy, and what runs its methods.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Error, Generics, Ident, Item, ItemImpl, Type, ext::IdentExt, parse2};

use crate::{
    expand_proxy::{Through, method},
    expand_server::{Callee, PHASES, Phase, entry, wire_name},
    expand_type::{Travels, allowances, archive},
    function::{Function, Written},
    helpers::Helpers,
    hooks::Hooks,
    interface::{actor_name, functions, is_exposed, kind_of, refuse_twin},
    nested::{Parts, refuse_namesakes},
    options::ActorOptions,
    refusals::{Refusals, refuse_second},
};

/// The block as it was written, then both sides of the part or all refusals at once.
pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    let (item, read) = PartInterface::read(options, item);
    match read {
        Ok(interface) => {
            let proxy = interface.proxy();
            let server = interface.server();
            quote! {
                #[allow(
                    clippy::needless_pass_by_ref_mut,
                    clippy::needless_pass_by_value,
                    clippy::unused_async,
                    reason = "the shape of a part's methods is its interface"
                )]
                #item
                #proxy
                #server
            }
        }
        Err(refused) => {
            let refused = refused.to_compile_error();
            quote! { #item #refused }
        }
    }
}

/// An impl block that can be that of a part.
struct PartInterface {
    ty: Type,
    /// The last word of that type.
    name: Ident,
    options: ActorOptions,
    methods: Vec<Function>,
}

impl PartInterface {
    /// Reads the tokens of an `#[actor_part]` attribute and of the item under it. The item comes
    /// back without the attributes that only callboard knows.
    fn read(options: TokenStream, item: &TokenStream) -> (TokenStream, syn::Result<Self>) {
        let mut block = match parse2(item.clone()) {
            Ok(Item::Impl(block)) => block,
            Ok(other) => {
                let text = "`#[actor_part]` stands on an impl block: the one with the part's \
                            methods";
                return (item.clone(), Err(Error::new_spanned(other, text)));
            }
            Err(error) => return (item.clone(), Err(error)),
        };
        let mut refusals = Refusals::default();
        refuse_second(&block.attrs, &["actor", "actor_part"], &mut refusals);
        let mut options = ActorOptions::read_of_part(options, &mut refusals);
        block.items.append(&mut options.accessors);
        if let Some((path, _)) = &block.trait_ {
            let text = "a part is an inherent impl block: `#[actor_part] impl Playback { .. }`";
            refusals.at(path, text);
        }
        if !block.generics.params.is_empty() {
            let text = "a part is not generic: its methods have one signature each";
            refusals.at(&block.generics, text);
        }
        let name = refusals.take(actor_name(&block));
        let mut interface = Self {
            ty: (*block.self_ty).clone(),
            name: name.unwrap_or_else(|| format_ident!("Part")),
            options,
            methods: Vec::new(),
        };
        interface.read_functions(&mut block, &mut refusals);
        refuse_namesakes(&interface.options.nested, &interface.methods, &mut refusals);
        (block.into_token_stream(), refusals.or(interface))
    }

    fn read_functions(&mut self, block: &mut ItemImpl, refusals: &mut Refusals) {
        for function in functions(block) {
            let helpers = Helpers::take(&mut function.attrs, refusals);
            if Hooks::default().take(function, refusals) {
                let text = "a part has no hooks and no periodic methods: its actor has";
                refusals.at(&function.sig.ident, text);
                continue;
            }
            let receiver = function.sig.receiver();
            let Some(receiver) = receiver.filter(|_| is_exposed(&function.vis)) else {
                helpers.refuse_unexposed(refusals);
                continue;
            };
            if helpers.skip {
                helpers.refuse_beside_skip(refusals);
                continue;
            }
            let Ok(index) = u16::try_from(self.methods.len()) else {
                refusals.at(&function.sig.ident, "a part has at most 65536 methods");
                return;
            };
            let kind = kind_of(receiver, refusals);
            let written = Written {
                vis: &function.vis,
                attributes: &function.attrs,
                signature: &function.sig,
            };
            let read = Function::read(kind, index, written, helpers, &self.ty, refusals);
            refuse_twin(&read, &self.methods, refusals);
            self.methods.push(read);
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            nested: &self.options.nested,
            owner: self.ty.to_token_stream(),
            name: wire_name(None, &self.name),
            own: self.methods.len(),
            before: Vec::new(),
        }
    }

    fn proxy_name(&self) -> Ident {
        format_ident!("{}Proxy", self.name)
    }

    /// What the caller's process uses.
    fn proxy(&self) -> TokenStream {
        let (ty, proxy, vis) = (&self.ty, self.proxy_name(), &self.options.vis);
        let doc = format!(
            " Calls a [`{0}`] that is part of an actor: its methods are calls to the actor.",
            self.name.unraw()
        );
        let methods = self.methods.iter().map(|function| {
            let vis = &function.vis;
            method(&self.name, function, &Through::Own).with_vis(&quote!(#vis))
        });
        let (accessors, allowances) = (self.parts().accessors(), allowances());
        let (own_name, archive) = (
            proxy.to_string(),
            archive(
                &Generics::default(),
                &quote!(#proxy),
                &TokenStream::new(),
                Travels::AsPart,
            ),
        );
        quote! {
            #[doc = #doc]
            #[derive(Clone)]
            #allowances
            #vis struct #proxy {
                handle: ::callboard::__private::Handle,
            }

            #allowances
            impl #proxy {
                #(#methods)*
                #accessors
            }

            impl ::callboard::__private::PartProxy for #proxy {
                const METHODS: &'static [::callboard::__private::Method] =
                    <#ty as ::callboard::__private::ActorPart>::METHODS;

                fn from_handle(handle: ::callboard::__private::Handle) -> Self {
                    Self { handle }
                }
            }

            #archive

            impl ::core::cmp::PartialEq for #proxy {
                fn eq(&self, other: &Self) -> bool {
                    self.handle.is_same_part(&other.handle)
                }
            }

            impl ::core::cmp::Eq for #proxy {}

            impl ::core::hash::Hash for #proxy {
                fn hash<__H: ::core::hash::Hasher>(&self, state: &mut __H) {
                    ::core::hash::Hash::hash(&self.handle, state);
                }
            }

            impl ::core::fmt::Debug for #proxy {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    self.handle.debug(#own_name, f)
                }
            }
        }
    }

    /// What the actor's process uses.
    fn server(&self) -> TokenStream {
        let (ty, proxy, parts) = (&self.ty, self.proxy_name(), self.parts());
        let constants = parts.constants();
        let own: Vec<_> = self.methods.iter().map(|one| entry(one, None)).collect();
        let table = parts.joined(&own);
        let runs = PHASES.map(|phase| self.run(phase, &parts));
        quote! {
            impl #ty {
                #constants
            }

            #[allow(
                deprecated,
                unused_variables,
                clippy::unused_async,
                reason = "deprecated functions are still called, and not every kind has methods"
            )]
            impl ::callboard::__private::ActorPart for #ty {
                type Proxy = #proxy;

                const METHODS: &'static [::callboard::__private::Method] = #table;

                #(#runs)*
            }
        }
    }

    /// What runs its methods of one kind.
    fn run(&self, phase: Phase, parts: &Parts<'_>) -> TokenStream {
        let (name, is_async, exclusive) = (phase.name(""), phase.is_async(), phase.is_exclusive());
        let place = quote!(place);
        let nested = parts.runs(phase, &place);
        let others = quote!(#nested call.unknown());
        let body = phase.body(
            &self.methods,
            &Callee {
                path: quote!(Self),
                receiver: quote!(self),
                number: place,
                others: &others,
                // Which actors have a hook for them is not known here; of one without, nothing
                // comes.
                notes_errors: true,
            },
        );
        quote! {
            #is_async fn #name(
                & #exclusive self,
                place: u16,
                call: ::callboard::__private::Incoming<'_>,
            ) -> ::callboard::__private::Answer {
                #body
            }
        }
    }
}
