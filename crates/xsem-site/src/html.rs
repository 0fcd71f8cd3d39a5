//! A document as a page.

use crate::documents::{self, Document, Documents};
use crate::links::{Target, target};
use crate::markdown::{Anchors, options};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Parser, Tag, TagEnd, html};
use std::collections::BTreeSet;

/// What pages lead to that is no document, and has to be there, too.
#[derive(Debug, Default)]
pub struct Used {
    /// Files that are linked to: each has a page that shows its text.
    pub files: BTreeSet<String>,
    /// Pictures that a page shows.
    pub pictures: BTreeSet<String>,
}

/// A page, and what it uses.
pub fn page(documents: &Documents, d: &Document, api: Option<&str>, used: &mut Used) -> String {
    let body = body(d, used);
    let up = up(&d.page());
    let title = match d.path.as_str() {
        "README.md" => "xsem: named semaphores between processes".to_owned(),
        _ => format!("{} · xsem", d.name()),
    };
    frame(&title, &nav(documents, Some(d), &up, api), &format!("<main>{body}</main>"), &up)
}

/// A page around a file that is no document.
pub fn file(documents: &Documents, path: &str, text: &str, api: Option<&str>) -> String {
    let up = up(&file_page(path));
    let body = format!("<main><h1>{}</h1><pre><code>{}</code></pre></main>", escaped(path), escaped(text));
    frame(&format!("{path} · xsem"), &nav(documents, None, &up, api), &body, &up)
}

/// A page with what is in a directory that a document links to.
pub fn directory(documents: &Documents, path: &str, entries: &[String], api: Option<&str>) -> String {
    let up = up(&file_page(path));
    let item = |e: &String| {
        format!("<li><a href=\"{up}{}\"><code>{}</code></a></li>", escaped(&file_page(&format!("{path}/{e}"))), escaped(e))
    };
    let list: String = entries.iter().map(item).collect();
    let body = format!("<main><h1>{}</h1><ul>{list}</ul></main>", escaped(path));
    frame(&format!("{path} · xsem"), &nav(documents, None, &up, api), &body, &up)
}

/// Where the page of a file is.
pub fn file_page(path: &str) -> String {
    format!("files/{path}.html")
}

/// Where a picture is.
pub fn picture(path: &str) -> String {
    format!("files/{path}")
}

/// From a page to the root of the site.
fn up(page: &str) -> String {
    "../".repeat(page.matches('/').count())
}

/// The text, with anchors at headings, links between pages, and marks for the style sheet.
fn body(d: &Document, used: &mut Used) -> String {
    let up = up(&d.page());
    let mut anchors = Anchors::default();
    let mut heading: Option<(Vec<Event<'_>>, String)> = None;
    let mut session: Option<String> = None;
    let mut events = Vec::new();
    for event in Parser::new_ext(&d.text, options()) {
        if let (Some((inside, text)), false) = (&mut heading, matches!(event, Event::End(TagEnd::Heading(_)))) {
            if let Event::Text(words) | Event::Code(words) = &event {
                text.push_str(words);
            }
            inside.push(event);
            continue;
        }
        if let Some(lines) = &mut session {
            match event {
                Event::Text(words) => lines.push_str(&words),
                _ => events.push(Event::Html(console(&session.take().unwrap_or_default()).into())),
            }
            continue;
        }
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some((Vec::new(), String::new())),
            Event::End(TagEnd::Heading(level)) => {
                let (inside, text) = heading.take().unwrap_or_default();
                let anchor = anchors.next(&text);
                events.push(Event::Html(format!("<{level} id=\"{anchor}\">").into()));
                events.extend(inside);
                let link =
                    format!(" <a class=\"anchor\" href=\"#{anchor}\" aria-label=\"link to this section\">#</a></{level}>\n");
                events.push(Event::Html(link.into()));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) if &*language == "console" => {
                session = Some(String::new());
            }
            Event::Start(Tag::Table(columns)) => {
                events.push(Event::Html("<div class=\"table\">".into()));
                events.push(Event::Start(Tag::Table(columns)));
            }
            Event::End(TagEnd::Table) => {
                events.push(Event::End(TagEnd::Table));
                events.push(Event::Html("</div>".into()));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = CowStr::from(href(d, &dest_url, &up, &mut used.files));
                events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
            }
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let dest_url = match target(d, &dest_url) {
                    Target::Here(path, _) => {
                        let to = format!("{up}{}", picture(&path));
                        used.pictures.insert(path);
                        CowStr::from(to)
                    }
                    Target::Elsewhere | Target::Outside => dest_url,
                };
                events.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
            }
            other => events.push(other),
        }
    }
    let mut out = String::new();
    html::push_html(&mut out, events.into_iter());
    // A table without words in its head has none.
    out.replace("<thead><tr><th></th><th></th></tr></thead>", "")
}

/// A session of a shell: commands stand out from what they print, and long lines are broken.
fn console(lines: &str) -> String {
    let line = |l: &str| match l.strip_prefix("$ ") {
        Some(command) => format!("<b>$ {}</b>\n", escaped(command)),
        None => format!("{}\n", escaped(l)),
    };
    format!("<pre class=\"console\"><code>{}</code></pre>\n", lines.lines().map(line).collect::<String>())
}

/// Where a link leads in the site.
fn href(d: &Document, link: &str, up: &str, files: &mut BTreeSet<String>) -> String {
    match target(d, link) {
        Target::Elsewhere | Target::Outside => link.to_owned(),
        Target::Here(path, anchor) => {
            let anchor = anchor.map(|a| format!("#{a}")).unwrap_or_default();
            match path.ends_with(".md") {
                true => format!("{up}{}{anchor}", documents::page(&path)),
                false => {
                    let page = file_page(&path);
                    files.insert(path);
                    format!("{up}{page}")
                }
            }
        }
    }
}

/// The navigation, with the headings of the page that is shown.
fn nav(documents: &Documents, here: Option<&Document>, up: &str, api: Option<&str>) -> String {
    let mut out = String::new();
    for (group, members) in documents.groups() {
        out += &format!("<h2>{group}</h2><ul>");
        for d in members {
            let current = here.is_some_and(|h| h.path == d.path);
            let class = if current { " class=\"here\" aria-current=\"page\"" } else { "" };
            out += &format!("<li><a{class} href=\"{up}{}\">{}</a>", d.page(), escaped(&d.name()));
            if current {
                out += "<ul>";
                for h in d.outline.headings.iter().filter(|h| h.level == 2) {
                    out += &format!("<li><a href=\"#{}\">{}</a></li>", h.anchor, escaped(&h.text));
                }
                out += "</ul>";
            }
            out += "</li>";
        }
        if let (true, Some(api)) = (group == "Use", api) {
            out += &format!("<li><a href=\"{up}{api}\">Rust API</a></li>");
        }
        out += "</ul>";
    }
    out
}

/// What is around every page.
fn frame(title: &str, nav: &str, main: &str, up: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <link rel=\"stylesheet\" href=\"{up}style.css\"><script src=\"{up}theme.js\"></script></head>\n<body data-up=\"{up}\">\n\
         <header><button id=\"menu\" aria-label=\"Contents\" aria-expanded=\"false\">&#9776;</button>\
         <a class=\"home\" href=\"{up}index.html\">xsem</a>\
         <input id=\"search\" type=\"search\" placeholder=\"Search (press /)\" aria-label=\"Search\" autocomplete=\"off\">\
         <button id=\"theme\" aria-label=\"Light or dark\">&#9680;</button></header>\n\
         <div id=\"results\" hidden></div>\n<nav aria-label=\"Contents\">{nav}</nav>\n{main}\n\
         <script src=\"{up}search-index.js\" defer></script><script src=\"{up}site.js\" defer></script></body></html>\n",
        title = escaped(title)
    )
}

/// Text as it may stand in a page.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
