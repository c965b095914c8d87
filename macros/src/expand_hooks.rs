//! The answering side of what an actor runs by itself: its hooks and periodic methods.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Type, ext::IdentExt, spanned::Spanned};

use crate::hooks::{Hook, Hooks, Own, Timer};
use crate::interface::Interface;

/// What the `Actor` impl has for them; nothing where there are none.
pub(crate) fn expand(hooks: &Hooks) -> TokenStream {
    if hooks.hooks.is_empty() && hooks.timers.is_empty() {
        return TokenStream::new();
    }
    let constants = (constant(&hooks.hooks), timers(&hooks.timers));
    let (flags, table) = constants;
    let all = arms(hooks, |_| true);
    let shared = arms(hooks, |own| !own.is_exclusive);
    let run_shared = hooks.has_calls().then(|| {
        quote! {
            async fn hook_shared(
                &self,
                hook: ::callboard::__private::Hook<'_>,
            ) -> ::core::result::Result<(), ::std::string::String> {
                match hook {
                    #(#shared)*
                    _ => ::core::result::Result::Ok(()),
                }
            }
        }
    });
    quote! {
        #flags
        #table

        async fn hook(
            &mut self,
            hook: ::callboard::__private::Hook<'_>,
        ) -> ::core::result::Result<(), ::std::string::String> {
            match hook {
                #(#all)*
                _ => ::core::result::Result::Ok(()),
            }
        }

        #run_shared
    }
}

/// Says what a further life is given, if it is given anything.
pub(crate) fn state_of(interface: &Interface) -> TokenStream {
    let Interface {
        actor, generics, ..
    } = interface;
    let (impls, _, bounds) = generics.split_for_impl();
    let given = |hook: &&Hook| hook.moment.variant == "Restart";
    let states = interface.hooks.hooks.iter().filter(given);
    let states =
        states.filter_map(|hook| Some((hook.own.attributes.present(), hook.own.takes.as_ref()?)));
    let states = states.map(|(present, state)| {
        quote_spanned! {state.span()=>
            #present
            impl #impls ::callboard::StateOf<#actor> for #state #bounds {}
        }
    });
    quote!(#(#states)*)
}

fn constant(hooks: &[Hook]) -> Option<TokenStream> {
    let with = hooks.iter().map(|hook| {
        let present = hook.own.attributes.present();
        let moment = format_ident!("{}", hook.moment.variant);
        let moment = quote!(::callboard::__private::Moment::#moment);
        let exclusive = hook.own.is_exclusive.then(|| quote!(.exclusive(#moment)));
        quote! {
            #present
            let hooks = hooks.with(#moment) #exclusive;
        }
    });
    (!hooks.is_empty()).then(|| {
        quote! {
            const HOOKS: ::callboard::__private::Hooks = {
                let hooks = ::callboard::__private::Hooks::NONE;
                #(#with)*
                hooks
            };
        }
    })
}

fn timers(timers: &[Timer]) -> Option<TokenStream> {
    if timers.is_empty() {
        return None;
    }
    let entries = timers.iter().map(|Timer { own, .. }| {
        let name = own.ident.unraw().to_string();
        let exclusive = own.is_exclusive.then(|| quote!(.exclusive()));
        let present = own.attributes.present();
        let absent = own.attributes.absent().map(|absent| {
            quote! { , #absent ::callboard::__private::Timer::new("") }
        });
        quote! { #present ::callboard::__private::Timer::new(#name) #exclusive #absent }
    });
    let numbered = || (0..).map(Literal::u16_unsuffixed).zip(timers);
    let periods = numbered().map(|(number, timer)| {
        let (present, period) = (timer.own.attributes.present(), &timer.period);
        quote!(#present #number => #period,)
    });
    let delays = numbered().map(|(number, timer)| {
        let present = timer.own.attributes.present();
        let none = quote!(::core::time::Duration::ZERO);
        let delay = timer.delay.as_ref().unwrap_or(&none);
        quote!(#present #number => #delay,)
    });
    Some(quote! {
        const TIMERS: &'static [::callboard::__private::Timer] = &[#(#entries),*];

        fn delay(&self, timer: u16) -> ::core::time::Duration {
            match timer {
                #(#delays)*
                _ => ::core::time::Duration::MAX,
            }
        }

        fn period(&self, timer: u16) -> ::core::time::Duration {
            match timer {
                #(#periods)*
                _ => ::core::time::Duration::MAX,
            }
        }
    })
}

/// What runs at each turn, of the functions that are wanted.
fn arms(hooks: &Hooks, is_wanted: impl Fn(&Own) -> bool) -> Vec<TokenStream> {
    let wanted = hooks.hooks.iter().filter(|hook| is_wanted(&hook.own));
    let mut arms: Vec<_> = wanted
        .map(|Hook { moment, own }| {
            let present = own.attributes.present();
            let variant = format_ident!("{}", moment.variant);
            let given = moment.gives.map(|_| match own.takes {
                Some(_) => quote!(given),
                None => quote!(_),
            });
            let leaves = moment.leaves && hooks.has_heirs() && own.returns.is_some();
            let heir = moment.leaves.then(|| match leaves {
                true => quote!(heir),
                false => quote!(_),
            });
            let given: Vec<_> = given.into_iter().chain(heir).collect();
            let given = (!given.is_empty()).then(|| quote!((#(#given),*)));
            let run = match (&own.takes, moment.variant) {
                (Some(state), "Restart") => resume(own, state),
                _ => run(own, leaves),
            };
            quote!(#present ::callboard::__private::Hook::#variant #given => #run,)
        })
        .collect();
    let timers = (0..).map(Literal::u16_unsuffixed).zip(&hooks.timers);
    arms.extend(timers.filter(|(_, timer)| is_wanted(&timer.own)).map(
        |(number, Timer { own, .. })| {
            let (present, run) = (own.attributes.present(), run(own, false));
            quote!(#present ::callboard::__private::Hook::Tick(#number) => #run,)
        },
    ));
    arms
}

/// Gives the state of type `state` to a function.
fn resume(own: &Own, state: &Type) -> TokenStream {
    let run = run(own, false);
    quote_spanned! {state.span()=>
        match given.read::<#state>() {
            ::core::result::Result::Ok(given) => #run,
            ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
        }
    }
}

/// Runs a function; what it returns is left to the next life, or dropped.
fn run(own: &Own, leaves: bool) -> TokenStream {
    let ident = &own.ident;
    // The compiler points at the argument if it has another type.
    let given = own
        .takes
        .as_ref()
        .map(|_| quote_spanned!(own.span=> , given));
    let wait = own.is_async.then(|| quote!(.await));
    let call = quote!(Self::#ident(self #given) #wait);
    // The same, at what it returns.
    let left = own.returns.as_ref().filter(|_| leaves);
    let left = left.map(|ty| quote_spanned!(ty.span()=> heir.leave::<Self>(&state)));
    if own.is_fallible {
        let text = text(&quote!(&error));
        let (state, done) = match left {
            Some(left) => (quote!(state), left),
            None => (quote!(_), quote!(::core::result::Result::Ok(()))),
        };
        quote! {
            match #call {
                ::core::result::Result::Ok(#state) => #done,
                ::core::result::Result::Err(error) => ::core::result::Result::Err(#text),
            }
        }
    } else if let Some(left) = left {
        quote! {
            {
                let state = #call;
                #left
            }
        }
    } else {
        quote! {
            {
                #call;
                ::core::result::Result::Ok(())
            }
        }
    }
}

/// What a borrowed error says, whatever its type can say.
pub(crate) fn text(error: &TokenStream) -> TokenStream {
    quote! {
        {
            #[allow(unused_imports, reason = "the error's type decides which of them is used")]
            use ::callboard::__private::{ByDebug as _, ByDisplay as _, ByError as _, ByName as _};
            (&&&&::callboard::__private::Described(#error)).text()
        }
    }
}
