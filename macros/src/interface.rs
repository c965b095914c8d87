//! What an actor offers: the impl block of `#[actor]`, read into an [`Interface`] or refused.
//!
//! Both sides are written from this alone, so they cannot disagree about a method's number. That
//! number is the method's place among the exposed ones of the source; what `#[cfg]` leaves out
//! keeps its number and stands in the table without a name.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Error, Generics, Ident, ImplItem, ImplItemFn, Item, ItemImpl, Receiver, ReceiverKind,
    ReturnType, Type, Visibility, parse2,
};

use crate::{
    expand_server::wire_name,
    expand_type::proxy_of,
    function::{Function, Kind, Written},
    helpers::Helpers,
    hooks::Hooks,
    nested::{Parts, refuse_namesakes},
    options::ActorOptions,
    refusals::{Refusals, refuse_second},
    types::{as_result, last_segment},
};

/// The numbers above are callboard's own.
const METHOD_COUNT_MAX: u16 = u16::MAX - 3;

/// An impl block that can be an actor.
pub(crate) struct Interface {
    /// The actor's type as it is written after `impl`.
    pub(crate) actor: Type,
    /// The last word of that type.
    pub(crate) name: Ident,
    /// The parameters of the block, if it is generic.
    pub(crate) generics: Generics,
    pub(crate) options: ActorOptions,
    pub(crate) constructors: Vec<Function>,
    pub(crate) methods: Vec<Function>,
    /// What it runs by itself.
    pub(crate) hooks: Hooks,
}

impl Interface {
    /// Reads the tokens of an `#[actor]` attribute and of the item under it. The item comes back
    /// without the attributes that only callboard knows.
    pub(crate) fn read(
        options: TokenStream,
        item: &TokenStream,
    ) -> (TokenStream, syn::Result<Self>) {
        let mut block = match parse2(item.clone()) {
            Ok(Item::Impl(block)) => block,
            Ok(other) => {
                let text = "`#[actor]` stands on an impl block: the one with the actor's \
                            constructors and methods";
                return (item.clone(), Err(Error::new_spanned(other, text)));
            }
            Err(error) => return (item.clone(), Err(error)),
        };
        let mut refusals = Refusals::default();
        refuse_second(&block.attrs, &["actor", "actor_part"], &mut refusals);
        let mut options = ActorOptions::read(options, &mut refusals);
        block.items.append(&mut options.accessors);
        let name = refusals.take(actor_name(&block));
        if let Some((path, _)) = &block.trait_ {
            refusals.at(
                path,
                "an actor is an inherent impl block: `#[actor] impl Counter { .. }`",
            );
        }
        if let Some(lifetime) = block.generics.lifetimes().next() {
            let text = "an actor borrows nothing: it lives in a process of its own";
            refusals.at(lifetime, text);
        }
        // Without a name the block is refused anyway; reading on finds what else is wrong.
        let name = name.unwrap_or_else(|| Ident::new("Actor", Span::call_site()));
        let mut interface = Self {
            actor: (*block.self_ty).clone(),
            name,
            generics: block.generics.clone(),
            options,
            constructors: Vec::new(),
            methods: Vec::new(),
            hooks: Hooks::default(),
        };
        interface.read_functions(&mut block, &mut refusals);
        interface.hooks.check(&mut refusals);
        refuse_namesakes(&interface.options.nested, &interface.methods, &mut refusals);
        (block.into_token_stream(), refusals.or(interface))
    }

    /// The name of the proxy's type.
    pub(crate) fn proxy(&self) -> Ident {
        format_ident!("{}Proxy", self.name)
    }

    /// The proxy's type, with its parameters: `CellProxy<T>`.
    pub(crate) fn proxy_type(&self) -> TokenStream {
        let (_, parameters, _) = self.generics.split_for_impl();
        let proxy = self.proxy();
        quote!(#proxy #parameters)
    }

    /// Its parts, behind the methods of its own and of its traits.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let traits = self.options.traits.iter().map(proxy_of);
        let table = |of| quote!(<#of as ::callboard::__private::TraitProxy>::INTERFACE.methods);
        Parts {
            nested: &self.options.nested,
            owner: self.actor.to_token_stream(),
            name: wire_name(self.options.name.as_ref(), &self.name),
            own: self.methods.len(),
            before: traits.map(table).collect(),
        }
    }

    fn read_functions(&mut self, block: &mut ItemImpl, refusals: &mut Refusals) {
        for function in functions(block) {
            let helpers = Helpers::take(&mut function.attrs, refusals);
            if self.hooks.take(function, refusals) {
                helpers.refuse_unexposed(refusals);
                continue;
            }
            let receiver = function.sig.receiver();
            let table = if !is_exposed(&function.vis) {
                None
            } else if receiver.is_some() {
                Some(&mut self.methods)
            } else if constructs(&function.sig.output, &self.name) {
                Some(&mut self.constructors)
            } else {
                None
            };
            let Some(table) = table else {
                helpers.refuse_unexposed(refusals);
                continue;
            };
            if helpers.skip {
                helpers.refuse_beside_skip(refusals);
                continue;
            }
            let index = u16::try_from(table.len()).ok();
            let Some(index) = index.filter(|index| *index < METHOD_COUNT_MAX) else {
                refusals.at(&function.sig.ident, "an actor has at most 65532 methods");
                return;
            };
            let kind = receiver.map_or(Kind::Constructor, |receiver| kind_of(receiver, refusals));
            let written = Written {
                vis: &function.vis,
                attributes: &function.attrs,
                signature: &function.sig,
            };
            let read = Function::read(kind, index, written, helpers, &self.actor, refusals);
            refuse_twin(&read, table, refusals);
            table.push(read);
        }
        if self.constructors.is_empty() {
            let text = "an actor needs a constructor: a `pub fn new(..)` that returns `Self` or \
                        a `Result` of it";
            refusals.at(&block.self_ty, text);
        }
        for function in functions(block) {
            let name = &function.sig.ident;
            let twin = self
                .constructors
                .iter()
                .find(|made| made.spawn_name() == *name || made.local_name() == *name);
            if let Some(twin) = twin {
                let text = format!(
                    "`{name}` is what `#[actor]` makes of the constructor `{}`: \
                     one of them needs another name",
                    twin.ident,
                );
                refusals.at(name, &text);
            }
        }
    }
}

pub(crate) fn functions(block: &mut ItemImpl) -> impl Iterator<Item = &mut ImplItemFn> {
    block.items.iter_mut().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    })
}

/// Refuses a name on the wire that an earlier function has, unless `#[cfg]` may leave one out.
pub(crate) fn refuse_twin(function: &Function, earlier: &[Function], refusals: &mut Refusals) {
    let always = |function: &Function| function.attributes.present().is_none();
    let twin = earlier
        .iter()
        .find(|earlier| earlier.wire_name == function.wire_name);
    if let Some(twin) = twin
        && twin.ident != function.ident
        && always(twin)
        && always(function)
    {
        let text = format!(
            "`{}` has the same name on the wire: \"{}\"",
            twin.ident, twin.wire_name
        );
        refusals.at(&function.ident, &text);
    }
}

/// `pub(self)` is a visibility, but it is that of a private function.
pub(crate) fn is_exposed(vis: &Visibility) -> bool {
    match vis {
        Visibility::Public(_) => true,
        Visibility::Restricted(restricted) => !restricted.path.is_ident("self"),
        Visibility::Inherited => false,
    }
}

pub(crate) fn actor_name(block: &ItemImpl) -> syn::Result<Ident> {
    last_segment(&block.self_ty)
        .map(|segment| segment.ident.clone())
        .ok_or_else(|| Error::new_spanned(&block.self_ty, "an actor is a struct or an enum"))
}

/// Whether a function without a receiver returns an actor.
fn constructs(output: &ReturnType, actor: &Ident) -> bool {
    let is_actor = |ty: &Type| {
        last_segment(ty).is_some_and(|last| last.ident == "Self" || last.ident == *actor)
    };
    match output {
        ReturnType::Default => false,
        ReturnType::Type(_, ty) => match as_result(ty) {
            Some(result) => result.ok.is_some_and(is_actor),
            None => is_actor(ty),
        },
    }
}

pub(crate) fn kind_of(receiver: &Receiver, refusals: &mut Refusals) -> Kind {
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => Kind::Shared,
        ReceiverKind::Reference(_, None, Some(_)) => Kind::Exclusive,
        ReceiverKind::Reference(_, Some(lifetime), _) => {
            refusals.at(
                lifetime,
                "a method of an actor borrows it for one call: no lifetime here",
            );
            Kind::Shared
        }
        ReceiverKind::Value => {
            let text = "a method of an actor takes `&self` or `&mut self`: the actor stays in \
                        its process";
            refusals.at(receiver, text);
            Kind::Exclusive
        }
        _ => {
            refusals.at(
                receiver,
                "a method of an actor takes plain `&self` or `&mut self`",
            );
            Kind::Exclusive
        }
    }
}
