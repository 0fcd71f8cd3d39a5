//! All of it into a directory.

use crate::documents::Documents;
use crate::{html, search};
use std::path::Path;
use std::{fs, io};

const ASSETS: [(&str, &str); 3] = [
    ("style.css", include_str!("../assets/style.css")),
    ("theme.js", include_str!("../assets/theme.js")),
    ("site.js", include_str!("../assets/site.js")),
];

/// Writes the site, and says how many pages it has. `api` is where the API pages are, as seen from `out`.
///
/// # Errors
/// Of reading and writing.
pub fn write(documents: &Documents, out: &Path, api: Option<&str>) -> io::Result<usize> {
    let mut used = html::Used::default();
    for d in &documents.all {
        put(out, &d.page(), html::page(documents, d, api, &mut used))?;
    }
    for path in &used.pictures {
        put(out, &html::picture(path), fs::read(documents.root.join(path))?)?;
    }
    let mut files = used.files;
    let mut pages = documents.all.len();
    // A directory brings the files in it.
    for path in files.clone() {
        let from = documents.root.join(&path);
        if from.is_dir() {
            let mut entries: Vec<String> = fs::read_dir(&from)?
                .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<_>>()?;
            entries.retain(|e| from.join(e).is_file());
            entries.sort();
            put(out, &html::file_page(&path), html::directory(documents, &path, &entries, api))?;
            pages += 1;
            files.remove(&path);
            files.extend(entries.iter().map(|e| format!("{path}/{e}")));
        }
    }
    for path in &files {
        let text = fs::read_to_string(documents.root.join(path))?;
        put(out, &html::file_page(path), html::file(documents, path, &text, api))?;
        pages += 1;
    }
    put(out, "search-index.js", search::index(documents))?;
    for (name, text) in ASSETS {
        put(out, name, text)?;
    }
    Ok(pages)
}

fn put(out: &Path, path: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
    let to = out.join(path);
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(to, content)
}
