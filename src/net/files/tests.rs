//! Names, links and kinds of files, with openat2 and without.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

/// A tree that goes when the test is over.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let name = format!("ringway-files-{}-{name}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&tree.0);
        let root = tree.0.join("root");
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        std::fs::write(root.join("a.txt"), "inside").unwrap();
        std::fs::write(root.join("sub/deep/b.txt"), "deep").unwrap();
        std::fs::write(tree.0.join("secret"), "outside").unwrap();
        symlink("a.txt", root.join("near")).unwrap();
        symlink("../../a.txt", root.join("sub/deep/up")).unwrap();
        symlink("sub", root.join("folder")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("..", root.join("parent")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        tree
    }

    fn root(&self, links: Links) -> Root {
        Root::open(&self.0.join("root"), links, Patience::Whole).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kind(found: &Result<Opened, Refused>) -> &'static str {
    match found {
        Ok(opened) if opened.facts.is_directory => "directory",
        Ok(_) => "file",
        Err(Refused::Absent) => "absent",
        Err(Refused::Forbidden) => "forbidden",
        Err(Refused::Special) => "special",
        Err(Refused::NotCached) => "not cached",
        Err(Refused::Failed(_)) => "failed",
    }
}

#[test]
fn links_are_followed_as_far_as_they_may_lead() {
    let tree = Tree::new("links");
    for (path, inside, off, any, walked) in [
        ("", "directory", "directory", "directory", "directory"),
        ("a.txt", "file", "file", "file", "file"),
        ("sub/deep/b.txt", "file", "file", "file", "file"),
        ("near", "file", "absent", "file", "absent"),
        ("sub/deep/up", "file", "absent", "file", "absent"),
        ("folder/deep/b.txt", "file", "absent", "file", "absent"),
        ("out", "absent", "absent", "file", "absent"),
        ("absolute", "absent", "absent", "file", "absent"),
        ("parent/secret", "absent", "absent", "file", "absent"),
        ("loop", "absent", "absent", "absent", "absent"),
        ("none", "absent", "absent", "absent", "absent"),
        ("a.txt/x", "absent", "absent", "absent", "absent"),
        ("../secret", "absent", "absent", "file", "absent"),
        ("a\0b", "absent", "absent", "absent", "absent"),
    ] {
        for (links, expected) in [
            (Links::Inside, inside),
            (Links::Off, off),
            (Links::Any, any),
        ] {
            let found = tree.root(links).find(path, Patience::Whole);
            assert_eq!(kind(&found), expected, "{path:?} with {links:?}");
        }
        let path = if path.is_empty() { "." } else { path };
        let found = tree.root(Links::Inside).walk(path);
        assert_eq!(kind(&found), walked, "{path:?} walked");
    }
}

#[test]
fn what_was_looked_at_is_in_the_kernels_memory() {
    let tree = Tree::new("cached");
    let root = tree.root(Links::Inside);
    assert_eq!(kind(&root.find("a.txt", Patience::Whole)), "file");
    let again = kind(&root.find("a.txt", Patience::Cached));
    // A kernel without RESOLVE_CACHED (5.12) never says so.
    assert!(matches!(again, "file" | "not cached"), "{again}");
}

#[test]
fn pipes_and_sockets_are_not_served_and_not_waited_for() {
    let tree = Tree::new("special");
    let path = tree.0.join("root/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.0.join("root/socket")).unwrap();
    for name in ["pipe", "socket"] {
        let root = tree.root(Links::Inside);
        assert_eq!(kind(&root.find(name, Patience::Whole)), "special", "{name}");
        assert_eq!(kind(&root.walk(name)), "special", "{name}");
    }
}

#[test]
fn a_change_shows_in_the_facts() {
    let tree = Tree::new("facts");
    let path = tree.0.join("root/a.txt");
    let root = tree.root(Links::Inside);
    let first = root.find("a.txt", Patience::Whole).unwrap();
    assert_eq!(facts(&first.fd).unwrap(), first.facts);
    assert_eq!(first.facts.len, 6);
    std::fs::write(&path, "longer than it was").unwrap();
    assert_ne!(facts(&first.fd).unwrap(), first.facts);
    // Replaced by another file of the same size and time: still another file.
    let before = root.find("a.txt", Patience::Whole).unwrap().facts;
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let fresh = tree.0.join("fresh");
    std::fs::write(&fresh, "longer than it WAS").unwrap();
    let file = std::fs::File::options().write(true).open(&fresh).unwrap();
    file.set_modified(modified).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    let after = root.find("a.txt", Patience::Whole).unwrap().facts;
    assert_eq!((before.len, before.modified), (after.len, after.modified));
    assert_ne!(before, after);
}

#[test]
fn a_listing_shows_what_would_be_served() {
    let tree = Tree::new("list");
    let names = |links, path: &str, max| {
        let (mut entries, is_whole) = tree.root(links).list(path, max).unwrap();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        (names, is_whole)
    };
    assert_eq!(
        names(Links::Inside, "", 100),
        (
            ["a.txt", "folder", "near", "sub"]
                .map(String::from)
                .to_vec(),
            true
        )
    );
    assert_eq!(
        names(Links::Off, "", 100),
        (["a.txt", "sub"].map(String::from).to_vec(), true)
    );
    assert_eq!(
        names(Links::Inside, "sub/deep", 100),
        (["b.txt", "up"].map(String::from).to_vec(), true)
    );
    let (first, is_whole) = names(Links::Inside, "", 2);
    assert_eq!((first.len(), is_whole), (2, false));
}

#[test]
fn what_may_not_be_read_is_forbidden() {
    let tree = Tree::new("forbidden");
    let path = tree.0.join("root/a.txt");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    // Root may read everything.
    let expected = match std::fs::read(&path) {
        Ok(_) => "file",
        Err(_) => "forbidden",
    };
    let found = tree.root(Links::Inside).find("a.txt", Patience::Whole);
    assert_eq!(kind(&found), expected);
}
