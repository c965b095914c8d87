//! What a trait offers: the trait of `#[actor_trait]`, read into a [`TraitInterface`] or refused.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{
    Error, Ident, Item, ItemTrait, Path, TraitItem, TraitItemFn, Type, TypeParamBound, Visibility,
    parse_quote, parse2, visit::Visit,
};

use crate::{
    function::{Function, Written},
    helpers::Helpers,
    hooks::refuse_marks,
    interface::{kind_of, refuse_twin},
    options::TraitOptions,
    refusals::{Refusals, refuse_second},
    types::compact,
};

/// A trait that actors can offer.
pub(crate) struct TraitInterface {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    pub(crate) options: TraitOptions,
    pub(crate) methods: Vec<Function>,
}

impl TraitInterface {
    /// Reads the tokens of an `#[actor_trait]` attribute and of the item under it. The item comes
    /// back without the attributes that only callboard knows.
    pub(crate) fn read(
        options: TokenStream,
        item: &TokenStream,
    ) -> (TokenStream, syn::Result<Self>) {
        let mut block = match parse2(item.clone()) {
            Ok(Item::Trait(block)) => block,
            Ok(other) => {
                let text = "`#[actor_trait]` stands on a trait";
                return (item.clone(), Err(Error::new_spanned(other, text)));
            }
            Err(error) => return (item.clone(), Err(error)),
        };
        let mut refusals = Refusals::default();
        refuse_second(&block.attrs, &["actor_trait"], &mut refusals);
        let options = TraitOptions::read(options, &mut refusals);
        refuse_forms(&block, &mut refusals);
        for path in &options.supertraits {
            refuse_unrelated(path, &block, &mut refusals);
        }
        let mut interface = Self {
            ident: block.ident.clone(),
            vis: block.vis.clone(),
            options,
            methods: Vec::new(),
        };
        interface.read_functions(&mut block, &mut refusals);
        (block.into_token_stream(), refusals.or(interface))
    }

    fn read_functions(&mut self, block: &mut ItemTrait, refusals: &mut Refusals) {
        let vis = block.vis.clone();
        let any: Type = parse_quote!(Self);
        for item in &mut block.items {
            let TraitItem::Fn(function) = item else {
                continue;
            };
            let helpers = Helpers::take(&mut function.attrs, refusals);
            refuse_marks(&mut function.attrs, refusals);
            let Some(receiver) = function.sig.receiver() else {
                helpers.refuse_unexposed(refusals);
                continue;
            };
            if helpers.skip {
                helpers.refuse_beside_skip(refusals);
                continue;
            }
            let Ok(index) = u16::try_from(self.methods.len()) else {
                refusals.at(&function.sig.ident, "a trait has at most 65536 methods");
                return;
            };
            refuse_self(function, refusals);
            let kind = kind_of(receiver, refusals);
            let written = Written {
                vis: &vis,
                attributes: &function.attrs,
                signature: &function.sig,
            };
            let read = Function::read(kind, index, written, helpers, &any, refusals);
            refuse_twin(&read, &self.methods, refusals);
            self.methods.push(read);
        }
    }
}

fn refuse_forms(block: &ItemTrait, refusals: &mut Refusals) {
    if !block.generics.params.is_empty() {
        let text = "a trait of actors is not generic: its methods have one signature each";
        refusals.at(&block.generics, text);
    }
    for item in &block.items {
        if let TraitItem::Type(ty) = item {
            let text = "a trait of actors has no associated types: one proxy stands for all of \
                        its actors";
            refusals.at(ty, text);
        }
    }
}

/// Refuses what is not among the supertraits as they are written.
fn refuse_unrelated(path: &Path, block: &ItemTrait, refusals: &mut Refusals) {
    let path_text = compact(path);
    let is_supertrait = block.supertraits.iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => compact(&bound.path) == path_text,
        _ => false,
    });
    if !is_supertrait {
        let own = &block.ident;
        let text = format!("`{path_text}` is no supertrait: `trait {own}: {path_text}`");
        refusals.at(path, &text);
    }
}

/// Refuses `Self` in what travels: it would be another type with every actor.
fn refuse_self(function: &TraitItemFn, refusals: &mut Refusals) {
    let mut selves = Selves(refusals);
    for input in &function.sig.inputs {
        if let syn::FnArg::Typed(typed) = input {
            selves.visit_type(&typed.ty);
        }
    }
    selves.visit_return_type(&function.sig.output);
}

struct Selves<'a>(&'a mut Refusals);

impl Visit<'_> for Selves<'_> {
    fn visit_path(&mut self, i: &Path) {
        if i.segments
            .first()
            .is_some_and(|first| first.ident == "Self")
        {
            let text = "`Self` is another type with every actor, and one proxy stands for all of \
                        them: name a type";
            self.0.at(i, text);
        } else {
            syn::visit::visit_path(self, i);
        }
    }
}
