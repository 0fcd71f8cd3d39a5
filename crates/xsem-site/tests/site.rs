//! The documents' links, and the site that is made of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use xsem_site::{Documents, check, root, write};

#[test]
fn no_document_has_a_dead_link() {
    let documents = Documents::read(&root()).expect("the documents");
    assert!(documents.all.len() > 30, "the documents are not where they were");
    let dead = check(&documents);
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn dead_links_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("docs")).expect("a directory");
    fs::write(
        dir.path().join("docs/a.md"),
        "# A\n\n## Good one\n\n[1](../README.md#top) [2](#good-one) [3](https://x.invalid)\n",
    )
    .unwrap();
    let links = "[a](docs/a.md#good-one) [b](docs/a.md#bad-one) [c](docs/b.md) [d](#nowhere) [e](../x) [f](docs)";
    fs::write(dir.path().join("README.md"), format!("# Top\n\n{links}\n")).unwrap();
    let dead = check(&Documents::read(dir.path()).expect("the documents"));
    let of: Vec<&str> = dead.iter().map(|d| d.split('`').nth(1).expect("the link")).collect();
    assert_eq!(of, ["docs/a.md#bad-one", "docs/b.md", "#nowhere", "../x"], "{dead:?}");
}

/// Every page of a site.
fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => pages(&path, found),
            false if path.extension().is_some_and(|e| e == "html") => found.push(path),
            false => {}
        }
    }
}

/// The values of an attribute.
fn values<'a>(text: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    text.match_indices(&start).map(|(at, _)| text[at + start.len()..].split('"').next().expect("its end")).collect()
}

/// The pages themselves are read again: what they link to is there, in the site.
#[test]
fn every_link_of_the_site_leads_somewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let documents = Documents::read(&root()).expect("the documents");
    let made = write(&documents, dir.path(), None).expect("the site");
    let mut all = Vec::new();
    pages(dir.path(), &mut all);
    assert_eq!(all.len(), made);
    let mut seen = 0;
    for page in &all {
        let text = fs::read_to_string(page).expect("a page");
        let mut links = values(&text, "href");
        links.extend(values(&text, "src"));
        for link in links.iter().filter(|l| !l.contains("://")) {
            let (path, anchor) = link.split_once('#').map_or((*link, None), |(p, a)| (p, Some(a)));
            let to = if path.is_empty() { page.clone() } else { page.parent().expect("a directory").join(path) };
            assert!(to.is_file(), "{}: {link}", page.display());
            if let Some(anchor) = anchor {
                let ids = fs::read_to_string(&to).expect("a page");
                assert!(values(&ids, "id").contains(&anchor), "{}: {link}", page.display());
            }
            seen += 1;
        }
        let ids = values(&text, "id");
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{}: an id twice", page.display());
        assert!(!text.contains("https://cdn") && !text.contains("@import"), "nothing from elsewhere");
    }
    assert!(seen > 1000, "{seen} links");
}

/// What the search looks in has every page and every section.
#[test]
fn every_section_can_be_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let documents = Documents::read(&root()).expect("the documents");
    write(&documents, dir.path(), None).expect("the site");
    let index = fs::read_to_string(dir.path().join("search-index.js")).expect("the index");
    for d in &documents.all {
        assert!(index.contains(&format!("\"url\":\"{}\"", d.page())), "{}", d.path);
    }
    assert!(index.contains("\"url\":\"docs/errors/101-EXCL_SEM_ALREADY_OWNED.html#how-to-diagnose\""));
}

/// A picture is in the site as it is, and where the page says.
#[test]
fn pictures_come_with_their_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("docs/plots")).expect("a directory");
    fs::write(dir.path().join("docs/plots/p.svg"), "<svg></svg>").unwrap();
    fs::write(dir.path().join("docs/a.md"), "# A\n\n![what it shows](plots/p.svg)\n").unwrap();
    let out = dir.path().join("site");
    write(&Documents::read(dir.path()).expect("the documents"), &out, None).expect("the site");
    let text = fs::read_to_string(out.join("docs/a.html")).expect("the page");
    assert_eq!(values(&text, "src").iter().filter(|s| s.ends_with(".svg")).collect::<Vec<_>>(), [&"../files/docs/plots/p.svg"]);
    assert!(text.contains("alt=\"what it shows\""));
    assert_eq!(fs::read_to_string(out.join("files/docs/plots/p.svg")).expect("the picture"), "<svg></svg>");
    assert_eq!(check(&Documents::read(dir.path()).expect("the documents")), [""; 0]);
}
