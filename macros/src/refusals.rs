//! Collects what is wrong with an item, so that the user sees all of it in one compilation.

use quote::ToTokens;
use syn::{Attribute, Error};

/// The refusals met so far, in the order of the source.
#[derive(Default)]
pub(crate) struct Refusals {
    combined: Option<Error>,
}

impl Refusals {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.combined {
            Some(combined) => combined.combine(error),
            None => self.combined = Some(error),
        }
    }

    /// Points at `tokens`, from the first to the last of them.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, text: &str) {
        self.add(Error::new_spanned(tokens, text));
    }

    /// Keeps the error of `result` and goes on.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// All refusals as one error, or `value` if there were none.
    pub(crate) fn or<T>(self, value: T) -> syn::Result<T> {
        match self.combined {
            Some(combined) => Err(combined),
            None => Ok(value),
        }
    }
}

/// Refuses another attribute of callboard's on an item that has one.
pub(crate) fn refuse_second(attributes: &[Attribute], names: &[&str], refusals: &mut Refusals) {
    for attribute in attributes {
        let mut segments = attribute.path().segments.iter();
        let is_name = |ident: &syn::Ident| names.iter().any(|name| ident == name);
        let is_second = match (segments.next(), segments.next(), segments.next()) {
            (Some(name), None, None) => is_name(&name.ident),
            (Some(callboard), Some(name), None) => {
                callboard.ident == "callboard" && is_name(&name.ident)
            }
            _ => false,
        };
        if is_second {
            refusals.at(attribute, "an item has one attribute of this kind");
        }
    }
}
