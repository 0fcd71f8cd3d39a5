//! What is in a document: headings with their anchors, links, and the text below each heading.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::HashMap;

/// As GitHub reads Markdown, as far as the documents use it.
pub fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM
}

/// A heading.
#[derive(Debug, PartialEq, Eq)]
pub struct Heading {
    /// 1 to 6.
    pub level: usize,
    /// Its words.
    pub text: String,
    /// What a link to it ends with.
    pub anchor: String,
    /// The text below it, up to the next heading.
    pub below: String,
}

/// The headings and links of a document.
#[derive(Debug, Default)]
pub struct Outline {
    /// In their order.
    pub headings: Vec<Heading>,
    /// Where each link leads.
    pub links: Vec<String>,
}

impl Outline {
    /// Of this text.
    pub fn of(text: &str) -> Outline {
        let mut outline = Outline::default();
        let mut anchors = Anchors::default();
        let mut heading: Option<(usize, String)> = None;
        for event in Parser::new_ext(text, options()) {
            let words = match &event {
                Event::Text(words) | Event::Code(words) => Some(words.to_string()),
                Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::TableCell | TagEnd::Item | TagEnd::Paragraph) => {
                    Some(" ".to_owned())
                }
                _ => None,
            };
            match (&mut heading, &event) {
                (_, Event::Start(Tag::Heading { level, .. })) => heading = Some((*level as usize, String::new())),
                (Some((level, text)), Event::End(TagEnd::Heading(_))) => {
                    let anchor = anchors.next(text);
                    outline.headings.push(Heading { level: *level, text: text.trim().to_owned(), anchor, below: String::new() });
                    heading = None;
                }
                (Some((_, text)), _) => text.push_str(&words.unwrap_or_default()),
                (None, _) => {
                    if let (Some(last), Some(words)) = (outline.headings.last_mut(), words) {
                        last.below += &words;
                    }
                }
            }
            if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event {
                outline.links.push(dest_url.to_string());
            }
        }
        outline
    }

    /// Whether a link may end with it.
    pub fn has(&self, anchor: &str) -> bool {
        self.headings.iter().any(|h| h.anchor == anchor)
    }
}

/// The anchors of a document: the second heading of one text gets `-1`, and so on.
#[derive(Debug, Default)]
pub struct Anchors(HashMap<String, usize>);

impl Anchors {
    /// That of the next heading.
    pub fn next(&mut self, heading: &str) -> String {
        let slug = slug(heading);
        let seen = self.0.entry(slug.clone()).or_default();
        *seen += 1;
        if *seen == 1 { slug } else { format!("{slug}-{}", *seen - 1) }
    }
}

/// An anchor as GitHub makes it of a heading.
pub fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Outline, slug};

    #[test]
    fn anchors_are_those_of_github() {
        assert_eq!(slug("Is this error critical?"), "is-this-error-critical");
        assert_eq!(slug("Conformance (`src/conformance/`)"), "conformance-srcconformance");
        assert_eq!(slug("Order (rule 5)"), "order-rule-5");
        let outline = Outline::of("# A `b`\n\n## C\n\nsome *text*\n\n## C\n\n[x](y.md#z)\n\n```sh\n# no heading\n```\n");
        let anchors: Vec<&str> = outline.headings.iter().map(|h| h.anchor.as_str()).collect();
        assert_eq!(anchors, ["a-b", "c", "c-1"]);
        assert_eq!(outline.links, ["y.md#z"]);
        assert_eq!(outline.headings[1].below.trim(), "some text");
    }
}
