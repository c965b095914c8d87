//! What gives a proxy's methods as values, one by one: `proxy.callback().add()`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Generics, Ident, Type, TypeSlice, Visibility, ext::IdentExt, parse2};

use crate::{
    expand_type::allowances,
    function::{Answer, Argument, Function},
};

/// Of which proxy, and which methods.
pub(crate) struct Callbacks<'a> {
    /// The actor or the trait.
    pub(crate) of: &'a Ident,
    pub(crate) proxy: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) generics: &'a Generics,
    pub(crate) methods: &'a [Function],
}

impl Callbacks<'_> {
    fn ident(&self) -> Ident {
        format_ident!("{}Callbacks", self.of)
    }

    /// Those that can be called by a value: neither return nor take streams.
    fn methods(&self) -> impl Iterator<Item = &Function> {
        let methods = self.methods.iter();
        methods.filter(|function| function.stream.is_none() && !function.is_fed())
    }

    /// Whether there are any, and the proxy has room for the name.
    fn exist(&self) -> bool {
        let mut methods = self.methods.iter();
        self.methods().next().is_some() && methods.all(|function| function.ident != "callback")
    }

    /// The method of the proxy.
    pub(crate) fn accessor(&self) -> Option<TokenStream> {
        if !self.exist() {
            return None;
        }
        let (ident, vis) = (self.ident(), self.vis);
        let (_, parameters, _) = self.generics.split_for_impl();
        Some(quote! {
            /// Its methods as values, one by one: each is a `Callback`.
            #[must_use]
            #vis fn callback(&self) -> #ident #parameters {
                #ident(::core::clone::Clone::clone(self))
            }
        })
    }

    /// The type that the accessor gives.
    pub(crate) fn expand(&self) -> Option<TokenStream> {
        if !self.exist() {
            return None;
        }
        let Self {
            of,
            proxy,
            vis,
            generics,
            ..
        } = self;
        let ident = self.ident();
        let doc = format!(" The methods of [`{proxy}`] as values.");
        let methods = self.methods().map(|function| method(of, function));
        let (impls, parameters, bounds) = generics.split_for_impl();
        let allowances = allowances();
        Some(quote! {
            #[doc = #doc]
            #[derive(Debug)]
            #allowances
            #vis struct #ident #impls (#proxy #parameters) #bounds;

            #allowances
            impl #impls #ident #parameters #bounds {
                #(#methods)*
            }
        })
    }
}

/// What is handed over for an argument that may be borrowed, in words that raise no error which the
/// method itself raises, too.
fn owned(argument: &Argument) -> TokenStream {
    let Argument { ty, lent, .. } = argument;
    let lent = lent.as_ref().and_then(|lent| parse2(lent.clone()).ok());
    match lent {
        Some(Type::Slice(TypeSlice { elem, .. })) => quote!(::callboard::__private::Vec<#elem>),
        Some(Type::Path(path)) if path.path.is_ident("str") => {
            quote!(::callboard::__private::String)
        }
        _ => ty.clone(),
    }
}

fn method(of: &Ident, function: &Function) -> TokenStream {
    let Function {
        ident, index, vis, ..
    } = function;
    let doc = format!(" `{}::{}` of this one actor.", of.unraw(), ident.unraw());
    let types: Vec<_> = function.arguments.iter().map(owned).collect();
    let args = match types.as_slice() {
        [one] => quote!(#one),
        several => quote!((#(#several),*)),
    };
    let (result, mark) = match &function.answer {
        Answer::Value(value) => (value, None),
        Answer::Result { ok, error } => (ok, Some(quote!(, ::callboard::Fails<#error>))),
    };
    let present = function.attributes.present();
    quote! {
        #present
        #[doc = #doc]
        #[must_use]
        #vis fn #ident(&self) -> ::callboard::Callback<#args, #result #mark> {
            ::callboard::Proxy::__handle(&self.0).callback(#index)
        }
    }
}
