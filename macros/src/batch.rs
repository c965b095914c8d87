//! A method that takes several calls at once, read as the method of one call.
//!
//! What travels is one call's: `Vec<u64>` in the block is `u64` on the wire and on the proxy.

use syn::{Attribute, FnArg, GenericArgument, PathArguments, ReturnType, Signature, Type};

use crate::{
    function::is_context,
    refusals::Refusals,
    types::{Place, last_segment, refuse_unowned},
};

/// How the calls of a method run together.
pub(crate) struct Batched {
    /// How many at most.
    pub(crate) max: u16,
    /// It gives a result for each, and not nothing for all.
    pub(crate) gives: bool,
}

/// The signature of one call of the method with `attribute`, whose own is `signature`.
pub(crate) fn single(
    attribute: &Attribute,
    signature: &Signature,
    refusals: &mut Refusals,
) -> Signature {
    let mut single = signature.clone();
    let mut count = 0;
    for input in &mut single.inputs {
        let FnArg::Typed(typed) = input else {
            continue;
        };
        count += 1;
        if is_context(&typed.ty) {
            let text = "a batch has as many contexts as calls: it is given none";
            refusals.at(&typed.ty, text);
        } else if let Some(one) = element(&typed.ty) {
            refuse_unowned(&one, Place::Argument, refusals);
            *typed.ty = one;
        } else {
            let text = "a `#[batch]` method takes a `Vec` of each argument, with one of each call";
            refusals.at(&typed.ty, text);
        }
    }
    if count == 0 {
        let text = "a batch needs an argument: its length says how many calls there are";
        refusals.at(attribute, text);
    }
    if gives(&signature.output)
        && let ReturnType::Type(_, ty) = &mut single.output
    {
        if let Some(one) = element(ty) {
            **ty = one;
        } else {
            let text =
                "a `#[batch]` method returns a `Vec` of results, one for each call, or nothing";
            refusals.at(&*ty, text);
        }
    }
    single
}

/// The `T` of `Vec<T>`: it goes by the name alone.
fn element(ty: &Type) -> Option<Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Vec")?;
    let PathArguments::AngleBracketed(written) = &segment.arguments else {
        return None;
    };
    let mut written = written.args.iter();
    match (written.next(), written.next()) {
        (Some(GenericArgument::Type(one)), None) => Some(one.clone()),
        _ => None,
    }
}

/// Whether there are results.
pub(crate) fn gives(output: &ReturnType) -> bool {
    match output {
        ReturnType::Default => false,
        ReturnType::Type(_, ty) => !matches!(&**ty, Type::Tuple(tuple) if tuple.elems.is_empty()),
    }
}
