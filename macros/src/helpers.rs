//! The attributes that callboard adds to the functions of a block, such as `#[skip]`.
//!
//! They mean nothing to the compiler, so they are taken out of the block before it is handed on. A
//! new one is a line in [`KNOWN`], a field, and an arm in [`Helpers::note`]; what the table of
//! methods has to know of it, `expand_server` writes as a call of `Method`'s builder.

use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Meta, MetaNameValue};

use crate::refusals::Refusals;

/// Each attribute with the form in which it is written.
const KNOWN: [(&str, &str); 7] = [
    ("skip", "#[skip]"),
    ("name", "#[name = \"stable.name\"]"),
    ("version", "#[version(2)]"),
    ("cancellable", "#[cancellable]"),
    ("idempotent", "#[idempotent]"),
    ("priority", "#[priority(high)]` or `#[priority(low)]"),
    ("batch", "#[batch]` or `#[batch(max = 64)]"),
];

/// Which calls come before which others; the word in the attribute.
pub(crate) struct Priority(pub(crate) Ident);

/// How many calls a batch has where nothing is said.
const BATCH_MAX: u16 = 256;

/// That the calls of a method which are queued run together.
pub(crate) struct Batch {
    /// As it was written.
    pub(crate) attribute: Attribute,
    /// How many run together at most.
    pub(crate) max: u16,
}

/// What the attributes of one function say.
#[derive(Default)]
pub(crate) struct Helpers {
    /// It is not exposed, although others can see it.
    pub(crate) skip: bool,
    /// Its name on the wire, where that is not its name in the block.
    pub(crate) name: Option<LitStr>,
    /// Which meaning of its signature this is; none is the first.
    pub(crate) version: Option<LitInt>,
    /// It is dropped where it waits when its call is cancelled; as it was written.
    pub(crate) cancellable: Option<Attribute>,
    /// Running it twice does the same as running it once; as it was written.
    pub(crate) idempotent: Option<Attribute>,
    /// Whether its calls come before or after others.
    pub(crate) priority: Option<Priority>,
    /// Whether it takes the arguments of several calls at once.
    pub(crate) batch: Option<Batch>,
    /// All of them as they were written, for refusals.
    written: Vec<Attribute>,
}

impl Helpers {
    /// Takes the attributes that are callboard's out of `attributes`.
    pub(crate) fn take(attributes: &mut Vec<Attribute>, refusals: &mut Refusals) -> Self {
        let mut helpers = Self::default();
        for attribute in std::mem::take(attributes) {
            let known = KNOWN
                .iter()
                .find(|(name, _)| attribute.path().is_ident(name));
            let Some((name, form)) = known else {
                attributes.push(attribute);
                continue;
            };
            let mut earlier = helpers.written.iter();
            if earlier.any(|earlier| earlier.path().is_ident(name)) {
                refusals.at(&attribute, &format!("`#[{name}]` is given twice"));
            } else if helpers.note(name, &attribute.meta, refusals).is_none() {
                let text = format!("`#[{name}]` is written `{form}`");
                refusals.at(&attribute, &text);
            }
            match *name {
                "cancellable" => helpers.cancellable = Some(attribute.clone()),
                "idempotent" => helpers.idempotent = Some(attribute.clone()),
                "batch" => {
                    helpers.batch = Some(Batch {
                        max: batch_max(&attribute.meta, refusals).unwrap_or(BATCH_MAX),
                        attribute: attribute.clone(),
                    });
                }
                _ => {}
            }
            helpers.written.push(attribute);
        }
        helpers
    }

    /// Notes one attribute; none: it is not written in its form.
    fn note(&mut self, name: &str, meta: &Meta, refusals: &mut Refusals) -> Option<()> {
        match (name, meta) {
            ("skip", Meta::Path(_)) => self.skip = true,
            ("cancellable" | "idempotent" | "batch", Meta::Path(_)) => {}
            ("batch", Meta::List(_)) => {
                written_max(meta)?;
            }
            ("name", Meta::NameValue(pair)) => {
                let name = string(&pair.value)?;
                if name.value().is_empty() {
                    refusals.at(&name, "a name on the wire is not empty");
                }
                self.name = Some(name);
            }
            ("version", Meta::List(list)) => {
                let version: LitInt = list.parse_args().ok()?;
                let number = version.base10_parse::<u32>();
                if !version.suffix().is_empty() || number.is_ok_and(|number| number == 0) {
                    refusals.at(&version, "versions are counted from 1, as plain numbers");
                } else if let Err(error) = version.base10_parse::<u32>() {
                    refusals.add(error);
                }
                self.version = Some(version);
            }
            ("priority", Meta::List(list)) => {
                let word: Ident = list.parse_args().ok()?;
                self.priority = match word.to_string().as_str() {
                    "high" => Some(Priority(Ident::new("High", word.span()))),
                    "low" => Some(Priority(Ident::new("Low", word.span()))),
                    _ => return None,
                };
            }
            _ => return None,
        }
        Some(())
    }

    /// Refuses what is said about a function that is not exposed: nothing would come of it.
    pub(crate) fn refuse_unexposed(&self, refusals: &mut Refusals) {
        for attribute in &self.written {
            let text = "this is for functions that are exposed: `pub` ones with `&self` or `&mut \
                        self`, and constructors";
            refusals.at(attribute, text);
        }
    }

    /// Refuses what is said about a method that takes or returns a stream.
    pub(crate) fn refuse_on_streams(&self, refusals: &mut Refusals) {
        if let Some(idempotent) = &self.idempotent {
            refusals.at(idempotent, "a stream that was begun is not made again");
        }
        if let Some(batch) = &self.batch {
            let text = "the calls of a batch are run at once: a stream has a call of its own";
            refusals.at(&batch.attribute, text);
        }
    }

    /// Refuses what is said about a constructor: it comes before all calls.
    pub(crate) fn refuse_on_constructor(&self, refusals: &mut Refusals) {
        for attribute in &self.written {
            if attribute.path().is_ident("batch") {
                let text = "a constructor makes one actor of one call: it has no batches";
                refusals.at(attribute, text);
            }
            if attribute.path().is_ident("priority") {
                let text = "a constructor runs before all methods: nothing comes of this";
                refusals.at(attribute, text);
            }
        }
    }

    /// Refuses what is said beside `#[skip]`.
    pub(crate) fn refuse_beside_skip(&self, refusals: &mut Refusals) {
        for attribute in &self.written {
            if !attribute.path().is_ident("skip") {
                let text = "a function with `#[skip]` is not exposed: nothing comes of this";
                refusals.at(attribute, text);
            }
        }
    }
}

/// The `64` of `#[batch(max = 64)]`.
fn written_max(meta: &Meta) -> Option<LitInt> {
    let Meta::List(list) = meta else {
        return None;
    };
    let pair: MetaNameValue = list.parse_args().ok()?;
    match pair.value {
        Expr::Lit(ExprLit {
            lit: Lit::Int(max), ..
        }) if pair.path.is_ident("max") => Some(max),
        _ => None,
    }
}

fn batch_max(meta: &Meta, refusals: &mut Refusals) -> Option<u16> {
    let max = written_max(meta)?;
    let number = max.base10_parse::<u16>().ok();
    let number = number.filter(|number| *number > 0 && max.suffix().is_empty());
    if number.is_none() {
        refusals.at(&max, "a batch has 1 to 65535 calls, as a plain number");
    }
    number
}

fn string(value: &Expr) -> Option<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.clone()),
        _ => None,
    }
}
