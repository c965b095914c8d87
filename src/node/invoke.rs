//! Calls by name, with arguments and results in JSON: for tools, scripts and gateways.
//!
//! Who invokes writes the archives himself, with the code of the actor's type, and the actor sees
//! a call like any other.

use serde_json::Value;

use super::faces::AnyProxy;
use super::handle::Proxy;
use super::registry;
use crate::proxy::failure::{CallError, Outcome};
use crate::wire::interface::{Interface, Method};
use crate::wire::json::{Fault, Given, Json, OwnError};

impl AnyProxy {
    /// Calls the method of this name, as [`methods`](Self::methods) has it, with arguments in JSON,
    /// and gives its result in JSON.
    ///
    /// The arguments are an array, by position, or an object, by the names that they have in the
    /// method; null is none. What an object leaves out is null, where the argument's type takes
    /// that. An argument that the method borrows is given as what is borrowed: text for `&str`, an
    /// array of numbers for `&[u8]`. The call is one of this proxy's: its
    /// [timeout](Proxy::with_timeout) holds.
    ///
    /// A method can be invoked if serde deserialises the types of its arguments and serialises that
    /// of its result, as far as the compiler knows where `#[actor]` or `#[actor_trait]` stands: the
    /// parameter of a generic actor is serde's only if its bounds say so. Archives are written in
    /// this process, so the actor's type has to be one of this program's, which those that it
    /// starts are. Needs the feature `json`.
    ///
    /// # Errors
    /// [`InvokeError`]; before there is a call, unless it is [`Call`](InvokeError::Call) or
    /// [`Result`](InvokeError::Result).
    ///
    /// # Cancel safety
    /// As that of a [`Call`](crate::Call): dropped, it is cancelled.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::AnyProxy;
    /// use callboard::prelude::*;
    /// use serde_json::json;
    ///
    /// pub struct Counter(u64);
    ///
    /// #[actor]
    /// impl Counter {
    ///     pub fn new() -> Self { Self(0) }
    ///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let any: AnyProxy = Counter::spawn().await?.into();
    ///     assert_eq!(any.invoke("add", json!([5])).await?, json!(5));
    ///     assert_eq!(any.invoke("add", json!({"by": 2})).await?, json!(7));
    ///     any.shutdown().await
    /// }
    /// ```
    pub async fn invoke(&self, method: &str, arguments: Value) -> Result<Value, InvokeError> {
        let (interface, number, entry, json) = self.find(method)?;
        let refused = |fault| InvokeError::of(entry.name, fault);
        let handle = self.__handle().cast(interface);
        let given = Given::new(json.names, arguments, handle.message_len_max());
        let archive = given.and_then(|given| (json.arguments)(&given));
        let archive = archive.map_err(refused)?;
        let reply = handle.call_archived(number, archive, json.failure).await?;
        reply.read(json.reply).map_err(refused)
    }

    /// The method in the tables of this program, by its name on the wire.
    fn find(
        &self,
        name: &str,
    ) -> Result<(&'static Interface, u16, &'static Method, Json), InvokeError> {
        let unknown = || InvokeError::UnknownMethod {
            method: name.to_owned(),
        };
        if !self.methods().any(|offered| offered == name) {
            return Err(unknown());
        }
        let Some(actor) = registry::find(self.type_name()) else {
            return Err(InvokeError::UnknownActor {
                name: self.type_name().to_owned(),
            });
        };
        let interface = actor.interface();
        let mut methods = (0_u16..).zip(interface.all_methods());
        let found = methods.find(|(_, method)| method.name == name);
        let (number, method) = found.ok_or_else(unknown)?;
        let json = method.json.ok_or_else(unknown)?;
        Ok((interface, number, method, json))
    }
}

/// A method could not be invoked, or failed.
///
/// # Examples
/// ```
/// use callboard::InvokeError;
///
/// fn whose_fault(error: &InvokeError) -> u16 {
///     match error {
///         InvokeError::UnknownMethod { .. } => 404,
///         InvokeError::Arguments { .. } => 422,
///         InvokeError::NotInvokable { .. } => 501,
///         _ => 500,
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The actor has no method of that name; [`AnyProxy::methods`] has those that it has.
    #[error("the actor has no method `{method}`")]
    UnknownMethod {
        /// The name that was asked for.
        method: String,
    },
    /// This program has no actor of that type: it is another program's, or generic and known here
    /// by no [`register!`](crate::register).
    #[error("this program has no actor `{name}`, and cannot write its arguments")]
    UnknownActor {
        /// The type's name on the wire.
        name: String,
    },
    /// A type in the method's signature is not serde's.
    #[error("`{method}` cannot be invoked: serde does not know `{type_name}`")]
    NotInvokable {
        /// The method's name.
        method: &'static str,
        /// The type: of an argument, or of the result.
        type_name: &'static str,
    },
    /// The method takes other arguments.
    #[error("{} cannot be read", place(.method, *.argument))]
    Arguments {
        /// The method's name.
        method: &'static str,
        /// Which argument, if it is one, and not their number or names.
        argument: Option<&'static str>,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// The method ran, and its result has no form in JSON: it is a map whose keys are no text, or
    /// its type's own serialising failed.
    #[error("the result of `{method}` has no form in JSON")]
    Result {
        /// The method's name.
        method: &'static str,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// The call failed; a method's own error is [`CallError::Actor`].
    #[error(transparent)]
    Call(#[from] CallError<OwnError>),
}

fn place(method: &str, argument: Option<&str>) -> String {
    match argument {
        Some(argument) => format!("the argument `{argument}` of `{method}`"),
        None => format!("the arguments of `{method}`"),
    }
}

impl InvokeError {
    fn of(method: &'static str, fault: Fault) -> Self {
        match fault {
            Fault::NotInvokable(type_name) => Self::NotInvokable { method, type_name },
            Fault::Argument(argument, source) => Self::Arguments {
                method,
                argument,
                source,
            },
            Fault::Result(source) => Self::Result { method, source },
            Fault::Encode(source) => Self::Call(CallError::Encode { method, source }),
            Fault::Decode(source) => Self::Call(CallError::Decode { method, source }),
        }
    }

    /// What is known about whether the method ran.
    ///
    /// # Examples
    /// ```
    /// use callboard::{InvokeError, Outcome};
    ///
    /// let error = InvokeError::UnknownMethod { method: "ad".into() };
    /// assert_eq!(error.outcome(), Outcome::NotRun);
    /// ```
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::UnknownMethod { .. }
            | Self::UnknownActor { .. }
            | Self::NotInvokable { .. }
            | Self::Arguments { .. } => Outcome::NotRun,
            Self::Result { .. } => Outcome::Ran,
            Self::Call(error) => error.outcome(),
        }
    }
}
