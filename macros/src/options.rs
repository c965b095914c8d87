//! The options of the attributes: `#[actor(name = "..")]`, `#[callboard::main(flavor = "..")]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Error, Expr, ExprLit, Field, Ident, ImplItem, Lit, LitBool, LitInt, LitStr, Meta, MetaList,
    Path, Token, Visibility,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    parse_quote,
    punctuated::Punctuated,
};

use crate::{
    nested::Nested,
    refusals::Refusals,
    settings::{self, Settings},
    types::compact,
};

/// What `#[actor(..)]` was told.
pub(crate) struct ActorOptions {
    /// The name on the wire, where it is not to be the actor's path.
    pub(crate) name: Option<LitStr>,
    /// The visibility of the proxy type.
    pub(crate) vis: Visibility,
    /// The traits that the actor offers.
    pub(crate) traits: Vec<Path>,
    /// The methods that read and write its fields.
    pub(crate) accessors: Vec<ImplItem>,
    /// What its starts are told.
    pub(crate) settings: Settings,
    /// Its parts.
    pub(crate) nested: Vec<Nested>,
}

impl ActorOptions {
    pub(crate) fn read(tokens: TokenStream, refusals: &mut Refusals) -> Self {
        let known: Vec<_> = ["name", "vis", "get", "get_set", "nested"]
            .into_iter()
            .chain(settings::KNOWN)
            .collect();
        let given = Given::read("#[actor]", &known, true, tokens, refusals);
        Self::of(given, refusals)
    }

    /// What `#[actor_part(..)]` was told.
    pub(crate) fn read_of_part(tokens: TokenStream, refusals: &mut Refusals) -> Self {
        let known = ["vis", "get", "get_set", "nested"];
        let given = Given::read("#[actor_part]", &known, false, tokens, refusals);
        Self::of(given, refusals)
    }

    fn of(given: Given, refusals: &mut Refusals) -> Self {
        let mut options = Self {
            name: None,
            vis: parse_quote!(pub),
            traits: Vec::new(),
            accessors: Vec::new(),
            settings: Settings::default(),
            nested: Vec::new(),
        };
        options.traits = given.paths;
        for list in given.lists {
            let fields = list.parse_args_with(|input: ParseStream<'_>| {
                Punctuated::<Field, Token![,]>::parse_terminated_with(input, Field::parse_named)
            });
            for field in refusals.take(fields).into_iter().flatten() {
                if list.path.is_ident("nested") {
                    options.nested.extend(Nested::read(field, refusals));
                } else {
                    let sets = list.path.is_ident("get_set");
                    options.accessors.extend(accessors(field, sets));
                }
            }
        }
        for (key, value) in given.pairs {
            if options.settings.take(&key, &value, refusals) {
                continue;
            }
            let Some(text) = refusals.take(string(&key, &value)) else {
                continue;
            };
            if key == "name" {
                options.name = Some(not_empty(text, refusals));
            } else {
                match text.parse() {
                    Ok(vis) => options.vis = vis,
                    Err(_) => refusals.at(
                        &text,
                        "`vis` is a visibility: \"pub\", \"pub(crate)\", \"pub(super)\", ..",
                    ),
                }
            }
        }
        options
    }
}

/// The methods of one field, as a user would write them: the first reads a clone of it.
fn accessors(field: Field, sets: bool) -> Vec<ImplItem> {
    let Field {
        attrs,
        vis,
        ident,
        ty,
        ..
    } = field;
    let vis = match vis {
        Visibility::Inherited => parse_quote!(pub),
        given => given,
    };
    let ident = ident.expect("a named field has a name");
    let setter = format_ident!("set_{ident}", span = ident.span());
    let name = ident.unraw();
    let (get_doc, set_doc) = (
        format!(" The field `{name}`."),
        format!(" Writes the field `{name}`."),
    );
    let doc = (!attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("doc")))
    .then(|| quote!(#[doc = #get_doc]));
    let get = parse_quote! {
        #doc
        #(#attrs)*
        #vis fn #ident(&self) -> #ty {
            ::core::clone::Clone::clone(&self.#ident)
        }
    };
    let conditions = attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    let set = sets.then(|| {
        parse_quote! {
            #[doc = #set_doc]
            #(#conditions)*
            #vis fn #setter(&mut self, #ident: #ty) {
                self.#ident = #ident;
            }
        }
    });
    std::iter::once(get).chain(set).collect()
}

/// What `#[actor_trait(..)]` was told.
pub(crate) struct TraitOptions {
    /// The name on the wire, where it is not to be the trait's path.
    pub(crate) name: Option<LitStr>,
    /// The supertraits that are actors' traits too.
    pub(crate) supertraits: Vec<Path>,
}

impl TraitOptions {
    pub(crate) fn read(tokens: TokenStream, refusals: &mut Refusals) -> Self {
        let given = Given::read("#[actor_trait]", &["name"], true, tokens, refusals);
        let mut name = None;
        for (key, value) in given.pairs {
            let text = refusals.take(string(&key, &value));
            name = text.map(|text| not_empty(text, refusals));
        }
        Self {
            name,
            supertraits: given.paths,
        }
    }
}

fn not_empty(name: LitStr, refusals: &mut Refusals) -> LitStr {
    if name.value().is_empty() {
        refusals.at(&name, "a name on the wire is not empty");
    }
    name
}

/// Which tokio runtime an entry point starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    CurrentThread,
    MultiThread,
}

/// What `#[callboard::main(..)]` or `#[callboard::test(..)]` was told.
pub(crate) struct EntryOptions {
    pub(crate) flavor: Flavor,
    pub(crate) worker_threads: Option<LitInt>,
    /// Whether signals that ask the process to end end its actors first; only `main` knows it.
    pub(crate) signals: Option<LitBool>,
}

impl EntryOptions {
    pub(crate) fn read(
        attribute: &str,
        known: &[&str],
        default: Flavor,
        tokens: TokenStream,
        refusals: &mut Refusals,
    ) -> Self {
        let mut options = Self {
            flavor: default,
            worker_threads: None,
            signals: None,
        };
        for (key, value) in Given::read(attribute, known, false, tokens, refusals).pairs {
            if key == "flavor" {
                options.flavor = refusals.take(flavor(&key, &value)).unwrap_or(default);
            } else if key == "signals" {
                options.signals = refusals.take(truth(&key, &value));
            } else {
                options.worker_threads = refusals.take(thread_count(&value));
            }
        }
        if let (Flavor::CurrentThread, Some(count)) = (options.flavor, &options.worker_threads) {
            refusals.at(count, "`worker_threads` needs `flavor = \"multi_thread\"`");
        }
        options
    }
}

/// What stands in the parentheses of an attribute.
#[derive(Default)]
struct Given {
    /// `key = value`, each key known and given once.
    pairs: Vec<(Ident, Expr)>,
    /// `path`, where an attribute takes traits.
    paths: Vec<Path>,
    /// `get(name: String)`, `get_set(..)`: fields.
    lists: Vec<MetaList>,
}

impl Given {
    fn read(
        attribute: &str,
        known: &[&str],
        takes_traits: bool,
        tokens: TokenStream,
        refusals: &mut Refusals,
    ) -> Self {
        let parsed = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens);
        let mut given = Self::default();
        for meta in refusals.take(parsed).into_iter().flatten() {
            let key = meta.path().get_ident();
            let key = key.filter(|key| known.iter().any(|name| key == name));
            match (key.cloned(), meta) {
                (None, Meta::Path(path)) if takes_traits => given.add_path(path, refusals),
                (None, meta) => {
                    let text = unknown(attribute, meta.path(), known, takes_traits);
                    refusals.at(meta.path(), &text);
                }
                (Some(key), meta) => given.add_pair(key, meta, refusals),
            }
        }
        given
    }

    fn add_path(&mut self, path: Path, refusals: &mut Refusals) {
        let is_twin = |earlier: &Path| compact(earlier) == compact(&path);
        if self.paths.iter().any(is_twin) {
            refusals.at(&path, &format!("`{}` is given twice", compact(&path)));
        } else {
            self.paths.push(path);
        }
    }

    fn add_pair(&mut self, key: Ident, meta: Meta, refusals: &mut Refusals) {
        let mut lists = self.lists.iter();
        let is_twin = self.pairs.iter().any(|(earlier, _)| *earlier == key)
            || lists.any(|earlier| earlier.path.is_ident(&key));
        if is_twin {
            refusals.at(&key, &format!("`{key}` is given twice"));
            return;
        }
        let takes_fields = key == "get" || key == "get_set" || key == "nested";
        match meta {
            Meta::List(list) if takes_fields => self.lists.push(list),
            other if takes_fields => {
                let text = format!("`{key}` takes fields: `{key}(title: String)`");
                refusals.at(other, &text);
            }
            Meta::NameValue(pair) => self.pairs.push((key, pair.value)),
            Meta::Path(_) | Meta::List(_) => {
                refusals.at(meta, &format!("`{key}` takes a value: `{key} = ..`"));
            }
        }
    }
}

/// Refuses an option that there is not: says which one was meant, or else which there are.
pub(crate) fn unknown(attribute: &str, given: &Path, known: &[&str], takes_traits: bool) -> String {
    let given = compact(given);
    match nearest(&given, known) {
        Some(nearest) => format!("unknown option `{given}`: did you mean `{nearest}`?"),
        None => {
            let known = listed(known, takes_traits);
            format!("unknown option `{given}`: `{attribute}` takes {known}")
        }
    }
}

/// The one of `names` that was misspelt as `given`, if it looks like that.
fn nearest<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    let distances = names.iter().map(|name| (distance(given, name), *name));
    let (distance, name) = distances.min()?;
    let few = given.len().max(name.len()) / 3;
    (distance <= few).then_some(name)
}

/// How many letters have to be added, left out, changed or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `` `a`, `b` and traits ``
fn listed(names: &[&str], takes_traits: bool) -> String {
    let mut words: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    words.extend(takes_traits.then(|| "traits".to_owned()));
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => "none".to_owned(),
    }
}

fn truth(key: &Ident, value: &Expr) -> syn::Result<LitBool> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Bool(truth),
            ..
        }) => Ok(truth.clone()),
        _ => Err(Error::new_spanned(
            value,
            format!("`{key}` takes `true` or `false`"),
        )),
    }
}

fn string(key: &Ident, value: &Expr) -> syn::Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text.clone()),
        _ => Err(Error::new_spanned(
            value,
            format!("`{key}` takes a string literal"),
        )),
    }
}

fn flavor(key: &Ident, value: &Expr) -> syn::Result<Flavor> {
    match string(key, value)?.value().as_str() {
        "current_thread" => Ok(Flavor::CurrentThread),
        "multi_thread" => Ok(Flavor::MultiThread),
        _ => Err(Error::new_spanned(
            value,
            "unknown flavour: there are \"current_thread\" and \"multi_thread\"",
        )),
    }
}

fn thread_count(value: &Expr) -> syn::Result<LitInt> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Int(count),
            ..
        }) if count.base10_parse::<usize>().is_ok_and(|count| count > 0) => Ok(count.clone()),
        _ => Err(Error::new_spanned(
            value,
            "`worker_threads` takes a number above 0",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    /// A slip of the fingers is known as such, and another word is none.
    #[test]
    fn misspelt_names_are_known() {
        let names = ["name", "vis", "get", "get_set", "mailbox", "process_name"];
        for (given, meant) in [
            ("nmae", Some("name")),
            ("nam", Some("name")),
            ("mailboxes", Some("mailbox")),
            ("getset", Some("get_set")),
            ("proces_name", Some("process_name")),
            ("env", None),
            ("title", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &names), meant, "{given}");
        }
    }
}
