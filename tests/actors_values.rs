//! U02, U60, UB2: what travels to an actor and back, and what is around its process.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use callboard::Skip;
use callboard::prelude::*;

use common::Scratch;

/// A message with everything in it.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    label: String,
    shape: Shape,
    inner: Vec<Vec<Option<String>>>,
    index: BTreeMap<String, (u8, i128)>,
    odd: [f32; 3],
    boxed: Box<u16>,
    outcome: Result<(), String>,
}

/// A message that contains itself, in each way.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Leaf,
    Chain(Option<Box<Self>>),
    Branch {
        name: String,
        inner: Vec<Self>,
        named: BTreeMap<String, (Self, Option<u8>)>,
    },
}

/// The same with a type of its own inside.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub struct Linked<T> {
    value: T,
    next: Option<Box<Self>>,
}

/// Messages that contain each other, of which one says so.
#[message(recursive)]
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    name: String,
    sizes: BTreeMap<String, u64>,
    entries: Vec<Entry>,
    #[cfg(any())]
    absent: Nowhere,
}

/// What a folder has in it.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    File {
        len: u64,
    },
    Folder(Folder),
    Link(Option<Box<Self>>),
    #[cfg(any())]
    Absent(Nowhere),
}

/// The same with a parameter, which stands in the circle only.
#[message(recursive)]
#[derive(Clone, Debug, PartialEq)]
pub struct Parent<T> {
    children: Vec<Child<T>>,
}

/// Has a value, and others beneath it.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub struct Child<T> {
    value: T,
    beneath: Option<Box<Parent<T>>>,
}

/// An enum with each kind of variant.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Point,
    Circle(f64),
    Rectangle { width: u32, height: u32 },
}

/// What is no message, and means something only where it was made.
#[derive(Debug, Default, PartialEq)]
pub struct Cache {
    read_at: Option<Instant>,
    words: Vec<&'static str>,
}

/// A message of which some stays behind.
#[message]
#[derive(Debug, PartialEq)]
pub struct Page {
    text: String,
    #[rkyv(with = Skip)]
    cache: Cache,
    number: u32,
    layout: Layout,
}

/// The same in an enum.
#[message]
#[derive(Debug, PartialEq)]
pub enum Layout {
    Plain(#[rkyv(with = Skip)] Cache),
    Columns {
        count: u8,
        #[rkyv(with = Skip)]
        widths: Vec<f32>,
    },
}

/// Gives back what it is given.
pub struct Mirror;

#[actor(name = "a stable name for a mirror")]
impl Mirror {
    pub fn new() -> Self {
        Self
    }

    pub fn nothing(&self) {}

    pub fn unit(&self, unit: ()) -> [(); 2] {
        [unit; 2]
    }

    pub fn text(&self, text: String) -> String {
        text
    }

    pub fn parcel(&self, parcel: Parcel) -> Parcel {
        parcel
    }

    /// Says also what was left of its cache.
    pub fn page(&self, mut page: Page) -> (Page, bool) {
        let was_left = page.cache != Cache::default();
        page.cache.words.push("there");
        (page, was_left)
    }

    pub fn tree(&self, tree: Tree) -> Tree {
        tree
    }

    pub fn folder(&self, folder: Folder, entry: &Archived<Entry>) -> (Folder, bool) {
        (folder, matches!(entry, ArchivedEntry::Link(_)))
    }

    pub fn parent(&self, parent: Parent<u16>) -> Parent<u16> {
        parent
    }

    pub fn last(&self, linked: &Archived<Linked<String>>) -> String {
        let mut last = linked;
        while let Some(next) = last.next.as_ref() {
            last = next;
        }
        last.value.to_string()
    }

    pub fn tuple(&self, tuple: (u8, char, Option<bool>)) -> (Option<bool>, char, u8) {
        let (number, letter, truth) = tuple;
        (truth, letter, number)
    }

    #[allow(clippy::too_many_arguments, reason = "the most that there may be")]
    pub async fn twelve(
        &self,
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: u128,
        f: i8,
        g: i16,
        h: i32,
        i: i64,
        j: String,
        k: bool,
        l: f64,
    ) -> (
        u8,
        u16,
        u32,
        u64,
        u128,
        i8,
        i16,
        i32,
        i64,
        String,
        bool,
        f64,
    ) {
        (a, b, c, d, e, f, g, h, i, j, k, l)
    }

    pub fn env(&self, key: String) -> Option<String> {
        std::env::var(key).ok()
    }

    pub fn current_dir(&self) -> String {
        std::env::current_dir()
            .expect("there is one")
            .display()
            .to_string()
    }

    pub fn stdin_len(&self) -> usize {
        std::io::read_to_string(std::io::stdin())
            .expect("it can be read")
            .len()
    }
}

/// A message may contain itself, owned or borrowed.
#[callboard::test]
async fn messages_contain_themselves() -> callboard::Result<()> {
    let mirror = Mirror::spawn().await?;
    let chain = (0..40).fold(Tree::Leaf, |inner, _| Tree::Chain(Some(Box::new(inner))));
    let tree = Tree::Branch {
        name: "root".into(),
        inner: vec![chain.clone(), Tree::Chain(None), Tree::Leaf],
        named: [("a".into(), (chain, Some(7)))].into(),
    };
    assert_eq!(mirror.tree(tree.clone()).await?, tree);
    let end = Linked {
        value: String::from("end"),
        next: None,
    };
    let linked = (0..40).fold(end, |next, at| Linked {
        value: format!("{at}"),
        next: Some(Box::new(next)),
    });
    assert_eq!(mirror.last(&linked).await?, "end");
    mirror.shutdown().await
}

/// Messages may contain each other.
#[callboard::test]
async fn messages_contain_each_other() -> callboard::Result<()> {
    let mirror = Mirror::spawn().await?;
    let empty = Folder {
        name: "empty".into(),
        sizes: BTreeMap::new(),
        entries: Vec::new(),
    };
    let folder = (0..20).fold(empty, |inner, depth| Folder {
        name: format!("{depth}"),
        sizes: [("a".into(), depth)].into(),
        entries: vec![
            Entry::File { len: depth },
            Entry::Folder(inner),
            Entry::Link(Some(Box::new(Entry::File { len: 1 }))),
        ],
    });
    let link = Entry::Link(None);
    let (mirrored, is_link) = mirror.folder(folder.clone(), &link).await?;
    assert_eq!((mirrored, is_link), (folder, true));
    let leaf = Parent {
        children: Vec::new(),
    };
    let parent = (0..20).fold(leaf, |beneath, value| Parent {
        children: vec![
            Child {
                value,
                beneath: Some(Box::new(beneath)),
            },
            Child {
                value,
                beneath: None,
            },
        ],
    });
    assert_eq!(mirror.parent(parent.clone()).await?, parent);
    mirror.shutdown().await
}

/// A field that is marked does not travel, on either way, whatever is in it: in its place is the
/// default, and its neighbours arrive as they were.
#[callboard::test]
async fn fields_may_stay_behind() -> callboard::Result<()> {
    let mirror = Mirror::spawn().await?;
    let cache = || Cache {
        read_at: Some(Instant::now()),
        words: vec!["here"; 100_000],
    };
    let layouts = [
        Layout::Plain(cache()),
        Layout::Columns {
            count: 3,
            widths: vec![0.5; 3],
        },
    ];
    for layout in layouts {
        let left = match &layout {
            Layout::Plain(_) => Layout::Plain(Cache::default()),
            Layout::Columns { count, .. } => Layout::Columns {
                count: *count,
                widths: vec![],
            },
        };
        let page = Page {
            text: "what travels".into(),
            cache: cache(),
            number: u32::MAX,
            layout,
        };
        let (back, was_left) = mirror.page(page).await?;
        assert!(!was_left, "nothing of the caller's cache came");
        let as_it_should = Page {
            text: "what travels".into(),
            cache: Cache::default(),
            number: u32::MAX,
            layout: left,
        };
        assert_eq!(back, as_it_should, "nothing of the actor's came either");
    }
    mirror.shutdown().await
}

/// Strings, nested collections, enums, tuples, nothing, and twelve arguments travel unchanged.
#[callboard::test]
async fn values_travel() -> callboard::Result<()> {
    let mirror = Mirror::spawn().await?;
    mirror.nothing().await?;
    assert_eq!(mirror.unit(()).await?, [(), ()]);
    for text in [
        "",
        "a",
        "eight by",
        "ümläut \u{1f3ad}",
        &"long ".repeat(10_000),
    ] {
        assert_eq!(mirror.text(text.into()).await?, text);
    }
    assert_eq!(
        mirror.tuple((7, 'ß', Some(true))).await?,
        (Some(true), 'ß', 7)
    );
    let shapes = [
        Shape::Point,
        Shape::Circle(0.5),
        Shape::Rectangle {
            width: 1,
            height: u32::MAX,
        },
    ];
    for shape in shapes {
        let parcel = Parcel {
            label: "fragile".into(),
            shape,
            inner: vec![vec![], vec![None, Some(String::new()), Some("deep".into())]],
            index: (0..50)
                .map(|n| (format!("key {n}"), (n, i128::from(n) - 25)))
                .collect(),
            odd: [0.0, -1.5, f32::INFINITY],
            boxed: Box::new(99),
            outcome: Err("as said".into()),
        };
        assert_eq!(mirror.parcel(parcel.clone()).await?, parcel);
    }
    let twelve = mirror.twelve(
        1,
        2,
        3,
        u64::MAX,
        u128::MAX,
        -1,
        -2,
        -3,
        i64::MIN,
        "j".into(),
        true,
        0.1,
    );
    let expected = (
        1,
        2,
        3,
        u64::MAX,
        u128::MAX,
        -1,
        -2,
        -3,
        i64::MIN,
        "j".to_owned(),
        true,
        0.1,
    );
    assert_eq!(twelve.await?, expected);
    mirror.shutdown().await
}

/// The process is called as it was named, otherwise as its actor; the system cuts its short name.
#[callboard::test]
async fn processes_have_names() -> callboard::Result<()> {
    let named = Mirror::spawn().name("box office 7").await?;
    let plain = Mirror::spawn().await?;
    for (pid, name, title) in [
        (named.process_id(), "actor:box office 7", "box office 7"),
        (
            plain.process_id(),
            "actor:a stable name for a mirror",
            "a stable name f",
        ),
    ] {
        let line = fs::read(format!("/proc/{pid}/cmdline"))?;
        assert_eq!(
            line.split(|byte| *byte == 0).next().unwrap(),
            name.as_bytes()
        );
        assert_eq!(
            fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end(),
            title
        );
    }
    named.shutdown().await?;
    plain.shutdown().await
}

/// Environment and working folder are as told, the rest is inherited; nothing of ours stays in it.
#[callboard::test]
async fn processes_have_surroundings() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let here = fs::canonicalize(&scratch.0)?;
    let mirror = Mirror::spawn()
        .env("PLACE", "far away")
        .env("ODD", "")
        .current_dir(&here)
        .await?;
    assert_eq!(
        mirror.env("PLACE".into()).await?.as_deref(),
        Some("far away")
    );
    assert_eq!(mirror.env("ODD".into()).await?.as_deref(), Some(""));
    assert_eq!(mirror.env("PATH".into()).await?, std::env::var("PATH").ok());
    assert_eq!(mirror.env("CALLBOARD_ACTOR".into()).await?, None);
    assert_eq!(mirror.current_dir().await?, here.display().to_string());
    assert_eq!(mirror.stdin_len().await?, 0, "its standard input is empty");
    mirror.shutdown().await
}
