//! UB19: the README shows what is there: its first program is an example, and its files exist.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The smallest program is `examples/counter.rs`, from its first `use` on.
#[test]
fn the_smallest_program_is_an_example() {
    let (readme, example) = (read("README.md"), read("examples/counter.rs"));
    let begin = example.find("use ").expect("it uses callboard");
    assert!(
        readme.contains(&example[begin..]),
        "README.md and examples/counter.rs differ"
    );
}

/// Each file that is linked is there.
#[test]
fn linked_files_exist() {
    let readme = read("README.md");
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files: Vec<_> = links.filter(|link| !link.contains("://")).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(path.exists(), "{file} is linked in README.md and not there");
    }
}
