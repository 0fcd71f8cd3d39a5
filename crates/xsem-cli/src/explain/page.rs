//! A page in its parts.

/// A page: title, message, date, and sections by their headings.
#[derive(Debug)]
pub struct Page<'a> {
    /// The line below the title.
    pub message: &'a str,
    /// When it was last changed.
    pub updated: &'a str,
    /// Heading and text of each section.
    pub sections: Vec<(&'a str, &'a str)>,
}

impl<'a> Page<'a> {
    /// Takes a page apart. A `## ` inside of a code block is none of its headings.
    pub fn read(text: &'a str) -> Page<'a> {
        let mut page = Page { message: "", updated: "", sections: Vec::new() };
        let mut heads = Vec::new();
        let (mut at, mut in_code) = (0, false);
        for line in text.split_inclusive('\n') {
            let words = line.trim_end();
            in_code ^= words.starts_with("```");
            match words.strip_prefix("## ") {
                Some(heading) if !in_code => heads.push((heading, at, at + line.len())),
                _ if !heads.is_empty() || words.is_empty() || words.starts_with("# ") => {}
                _ => match words.strip_prefix("Updated: ") {
                    Some(date) => page.updated = date,
                    None if page.message.is_empty() => page.message = words,
                    None => {}
                },
            }
            at += line.len();
        }
        let ends = heads.iter().skip(1).map(|h| h.1).chain([text.len()]);
        page.sections = heads.iter().zip(ends).map(|((heading, _, from), to)| (*heading, text[*from..to].trim())).collect();
        page
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_comes_apart_at_its_headings_and_not_in_its_code() {
        let page = Page::read(
            "# E - 1 (0x1)\n\nIt is so.\n\nUpdated: Nov 21, 2026\n\n## One\n\na\n\n```sh\n## no heading\n```\n\n## Two\n\nb\n",
        );
        assert_eq!((page.message, page.updated), ("It is so.", "Nov 21, 2026"));
        assert_eq!(page.sections, [("One", "a\n\n```sh\n## no heading\n```"), ("Two", "b")]);
    }
}
