//! K10, K13: methods that are called by name, with arguments and results in JSON.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{AnyProxy, InvokeError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use common::{LONG, within};

/// A type that is serde's and can travel.
#[message]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    item: String,
    count: u32,
    note: Option<String>,
}

/// A type that can travel, and is not serde's.
#[message]
#[derive(Debug)]
pub struct Opaque(u64);

/// An error that is serde's.
#[message]
#[derive(Debug, thiserror::Error, Serialize)]
#[error("no room for {missing} more")]
pub struct NoRoom {
    missing: u32,
}

/// An error that says what it is, and no more.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

#[actor_trait]
pub trait Counted {
    fn count(&self) -> u32;

    #[name = "count.v1"]
    async fn count_to(&mut self, count: u32) -> u32;
}

pub struct Store {
    orders: Vec<Order>,
}

#[allow(clippy::unused_self, reason = "methods of samples")]
#[actor(Counted)]
impl Store {
    pub fn new() -> Self {
        Self { orders: Vec::new() }
    }

    pub fn put(&mut self, order: Order, times: u32) -> Result<u32, NoRoom> {
        if times > 10 {
            return Err(NoRoom {
                missing: times - 10,
            });
        }
        for _ in 0..times {
            let Order { item, count, note } = &order;
            self.orders.push(Order {
                item: item.clone(),
                count: *count,
                note: note.clone(),
            });
        }
        Ok(self.count())
    }

    pub fn first(&self) -> Option<Order> {
        let Order { item, count, note } = self.orders.first()?;
        Some(Order {
            item: item.clone(),
            count: *count,
            note: note.clone(),
        })
    }

    /// Its arguments are borrowed, and one of them has no name that is used; it asks for the call's
    /// context.
    pub fn join(&self, text: &str, context: &Context, bytes: &[u8], _last: Option<u8>) -> String {
        assert!(context.remaining().is_some());
        format!("{text}{}{_last:?}", bytes.len())
    }

    #[name = "stock.v2"]
    pub async fn stock(&self, r#type: String) -> String {
        format!("{} of {}", self.orders.len(), r#type)
    }

    /// Given several calls at once, each of which is one by name, too.
    #[batch]
    pub fn halve(&mut self, numbers: Vec<u32>) -> Vec<Result<u32, NoRoom>> {
        let halve = |number: u32| match number % 2 {
            0 => Ok(number / 2),
            missing => Err(NoRoom { missing }),
        };
        numbers.into_iter().map(halve).collect()
    }

    pub fn close(&mut self) -> Result<(), Closed> {
        Err(Closed)
    }

    pub fn hide(&self, opaque: Opaque, plain: u64) -> u64 {
        opaque.0 + plain
    }

    pub fn show(&mut self) -> Opaque {
        self.orders.clear();
        Opaque(7)
    }

    /// What serde cannot write in JSON.
    pub fn by_pair(&self) -> BTreeMap<(u8, u8), u8> {
        BTreeMap::from([((1, 2), 3)])
    }

    pub fn boom(&self) {
        panic!("it is said to");
    }

    pub async fn sleep(&self) {
        std::future::pending::<()>().await;
    }
}

impl Counted for Store {
    fn count(&self) -> u32 {
        u32::try_from(self.orders.len()).unwrap_or(u32::MAX)
    }

    async fn count_to(&mut self, count: u32) -> u32 {
        tokio::task::yield_now().await;
        self.orders.truncate(count as usize);
        self.count()
    }
}

/// An actor whose types are known to be serde's by their bounds, and one whose are not.
pub struct Cell<T>(T);

#[actor]
impl<T: Message + Clone + Serialize + for<'a> Deserialize<'a>> Cell<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn swap(&mut self, value: T) -> T {
        std::mem::replace(&mut self.0, value)
    }
}

callboard::register!(Cell<String>);

pub struct Plain<T>(T);

#[actor]
impl<T: Message + Clone> Plain<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn get(&self) -> T {
        self.0.clone()
    }

    pub fn size(&self) -> u64 {
        size_of::<T>() as u64
    }
}

callboard::register!(Plain<u32>);

async fn store() -> AnyProxy {
    let started = within(LONG, async { Store::spawn().await }).await;
    started.expect("a store can be started").into()
}

async fn invoke(any: &AnyProxy, method: &str, arguments: Value) -> Result<Value, InvokeError> {
    within(LONG, any.invoke(method, arguments)).await
}

/// Arguments are given by position or by name, in any order; what may be absent may be left out.
#[callboard::test]
async fn arguments_by_position_and_by_name() -> callboard::Result<()> {
    let any = store().await;
    let order = json!({"item": "tea", "count": 2});
    assert_eq!(invoke(&any, "put", json!([order, 2])).await?, json!(2));
    let named = json!({"times": 1, "order": order});
    assert_eq!(invoke(&any, "put", named).await?, json!(3));
    let whole = json!({"item": "tea", "count": 2, "note": null});
    for none in [json!([]), json!({}), json!(null)] {
        assert_eq!(invoke(&any, "first", none).await?, whole);
    }
    let bounded = any.with_timeout(LONG);
    let borrowed = json!({"text": "a", "bytes": [1, 2, 3]});
    assert_eq!(invoke(&bounded, "join", borrowed).await?, json!("a3None"));
    let borrowed = json!(["b", [], 7]);
    assert_eq!(
        invoke(&bounded, "join", borrowed).await?,
        json!("b0Some(7)")
    );
    let kind = json!({"type": "all"});
    assert_eq!(invoke(&any, "stock.v2", kind).await?, json!("3 of all"));
    // The typed proxy sees the same actor.
    assert_eq!(any.downcast::<StoreProxy>()?.count().await?, 3);
    any.shutdown().await
}

/// Methods of a trait are invoked by the names that `methods` gives, on tasks as on processes.
#[callboard::test]
async fn methods_of_traits_are_invoked() -> callboard::Result<()> {
    let local = AnyProxy::from(Store::local().await?);
    for any in [store().await, local] {
        let order = json!({"item": "tea", "count": 2});
        invoke(&any, "put", json!([order, 5])).await?;
        let [count, count_to] = ["invoke::Counted::count", "invoke::Counted::count.v1"];
        assert!(any.methods().any(|name| name == count_to));
        assert_eq!(invoke(&any, count, json!([])).await?, json!(5));
        assert_eq!(invoke(&any, count_to, json!([3])).await?, json!(3));
        assert_eq!(invoke(&any, count, json!([])).await?, json!(3));
        any.shutdown().await?;
    }
    Ok(())
}

/// A method that takes several calls at once is invoked as one call of it, with its own error.
#[callboard::test]
async fn methods_of_batches_are_invoked_one_by_one() -> callboard::Result<()> {
    let any = store().await;
    assert_eq!(invoke(&any, "halve", json!([4])).await?, json!(2));
    assert_eq!(
        invoke(&any, "halve", json!({"numbers": 6})).await?,
        json!(3)
    );
    let error = invoke(&any, "halve", json!([5])).await.unwrap_err();
    let InvokeError::Call(CallError::Actor(own)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(own.value(), &json!({"missing": 1}));
    any.shutdown().await
}

/// What is wrong with the arguments is said before there is a call: which one, and what serde said.
#[callboard::test]
async fn wrong_arguments_are_named() -> callboard::Result<()> {
    let any = store().await;
    let order = json!({"item": "tea", "count": 2});
    let cases = [
        (json!([order, "two"]), Some("times"), "invalid type: string"),
        (json!([{"item": 1}, 2]), Some("order"), "invalid type: int"),
        (json!({"order": order}), Some("times"), "missing field"),
        (json!([order]), None, "expected 2 arguments"),
        (json!([order, 1, 1]), None, "invalid length 3"),
        (json!({"by": 5}), None, "unknown field `by`"),
        (json!(5), None, "by position"),
    ];
    for (given, wrong, text) in cases {
        let error = invoke(&any, "put", given.clone()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotRun);
        let InvokeError::Arguments {
            method, argument, ..
        } = error
        else {
            panic!("{given}: {error:?}")
        };
        assert_eq!((method, argument), ("put", wrong), "{given}");
        let said = callboard::Error::from(error).to_string();
        assert!(said.contains(text), "{given}: {said}");
    }
    for unknown in ["putt", "", "new", "count"] {
        let error = invoke(&any, unknown, json!([])).await.unwrap_err();
        assert!(
            matches!(&error, InvokeError::UnknownMethod { method } if method == unknown),
            "{error:?}"
        );
    }
    assert_eq!(invoke(&any, "first", json!([])).await?, json!(null));
    any.shutdown().await
}

/// A method's own error comes with its text, and with its value if that is serde's.
#[callboard::test]
async fn own_errors_are_told() -> callboard::Result<()> {
    let any = store().await;
    let order = json!({"item": "tea", "count": 2});
    let error = invoke(&any, "put", json!([order, 12])).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Ran);
    let InvokeError::Call(CallError::Actor(own)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(own.to_string(), "no room for 2 more");
    assert_eq!(own.value(), &json!({"missing": 2}));
    let error = invoke(&any, "close", json!([])).await.unwrap_err();
    let InvokeError::Call(CallError::Actor(own)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(own.to_string(), "the store is closed");
    assert_eq!(own.value(), &json!("the store is closed"));
    any.shutdown().await
}

/// A method with a type that is not serde's is not called, whatever it is given.
#[callboard::test]
async fn other_types_are_not_invokable() -> callboard::Result<()> {
    let any = store().await;
    invoke(&any, "put", json!([{"item": "tea", "count": 2}, 1])).await?;
    for (method, given) in [("hide", json!([1, "no number"])), ("show", json!([]))] {
        let error = invoke(&any, method, given).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotRun);
        assert_eq!(
            error.to_string(),
            format!("`{method}` cannot be invoked: serde does not know `invoke::Opaque`")
        );
        assert!(matches!(error, InvokeError::NotInvokable { .. }));
    }
    let count = invoke(&any, "invoke::Counted::count", json!([])).await?;
    assert_eq!(count, json!(1), "`show` has not cleared it");
    any.shutdown().await
}

/// A generic actor's types are serde's if its bounds say so, and where they do not depend on it.
#[callboard::test]
async fn generic_actors_are_known_by_their_bounds() -> callboard::Result<()> {
    let cell = AnyProxy::from(Cell::spawn(String::from("old")).await?);
    assert_eq!(invoke(&cell, "swap", json!(["new"])).await?, json!("old"));
    cell.shutdown().await?;
    let plain = AnyProxy::from(Plain::spawn(7_u32).await?);
    assert_eq!(invoke(&plain, "size", json!([])).await?, json!(4));
    let error = invoke(&plain, "get", json!([])).await.unwrap_err();
    assert!(
        matches!(
            error,
            InvokeError::NotInvokable {
                type_name: "u32",
                ..
            }
        ),
        "{error:?}"
    );
    plain.shutdown().await?;
    let unknown = AnyProxy::from(Plain::local(7_u8).await?);
    let error = invoke(&unknown, "size", json!([])).await.unwrap_err();
    assert!(
        matches!(&error, InvokeError::UnknownActor { name } if name == "invoke::Plain<u8>"),
        "{error:?}"
    );
    unknown.shutdown().await
}

/// What goes wrong with the call or its result is an error of the call, with what is known of it.
#[callboard::test]
async fn calls_fail_as_calls_do() -> callboard::Result<()> {
    let any = store().await;
    let error = invoke(&any, "by_pair", json!([])).await.unwrap_err();
    assert!(matches!(error, InvokeError::Result { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Ran);
    let quick = any.with_timeout(Duration::from_millis(50));
    let error = invoke(&quick, "sleep", json!([])).await.unwrap_err();
    let timeout = InvokeError::Call(CallError::Timeout {
        after: Duration::from_millis(50),
        outcome: Outcome::MayHaveRun,
    });
    assert_eq!(error.to_string(), timeout.to_string());
    let error = invoke(&any, "boom", json!([])).await.unwrap_err();
    let InvokeError::Call(CallError::Panicked(report)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(report.message(), "it is said to");
    any.exited().await;
    let error = invoke(&any, "first", json!([])).await.unwrap_err();
    assert!(
        matches!(
            error,
            InvokeError::Call(CallError::Died {
                outcome: Outcome::NotRun,
                ..
            })
        ),
        "{error:?}"
    );
    Ok(())
}
