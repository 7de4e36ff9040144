//! The Markdown that the style check and the index of results read and write.

/// A link and the line it is on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub line: usize,
    pub target: String,
}

/// All inline links and link definitions of a document, except those in code.
pub fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (number, line) in prose_lines(text) {
        let line = without_code(line);
        let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"));
        if let Some((label, target)) = definition
            && !label.starts_with('^')
        {
            links.extend(link(number, target));
        }
        for (start, opening) in line.match_indices("](") {
            let rest = &line[start + opening.len()..];
            links.extend(link(number, &rest[..closing_parenthesis(rest)]));
        }
    }
    links
}

/// The text of the first heading.
pub fn heading(text: &str) -> Option<String> {
    let heading = prose_lines(text).find_map(|(_, line)| line.strip_prefix("# "))?;
    Some(without_links(heading.trim()))
}

/// The first sentence of the first paragraph, on one line, with links reduced to their texts.
pub fn first_sentence(text: &str) -> Option<String> {
    let is_paragraph = |line: &str| {
        let is_other = line.trim().is_empty() || line.starts_with(['#', '|', '<', ' ', '\t']);
        !is_other
    };
    let lines: Vec<&str> = prose_lines(text)
        .map(|(_, line)| line)
        .skip_while(|line| !is_paragraph(line))
        .take_while(|line| is_paragraph(line))
        .map(str::trim)
        .collect();
    let paragraph = without_links(&lines.join(" "));
    let end = paragraph.char_indices().find_map(|(at, c)| {
        let rest = &paragraph[at + c.len_utf8()..];
        // A lower-case letter follows an abbreviation, not the end of a sentence.
        let next = rest.strip_prefix(' ').and_then(|rest| rest.chars().next());
        let ends = matches!(c, '.' | '?' | '!') && next.is_some_and(|next| !next.is_lowercase());
        ends.then_some(at + c.len_utf8())
    });
    let sentence = &paragraph[..end.unwrap_or(paragraph.len())];
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

/// The words of `text` in lines of at most `width` characters, all but the first indented by
/// `indent` spaces. A word that is longer than a line stays whole.
pub fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut wrapped = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            length = indent;
        } else if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(word);
        length += word_length;
    }
    wrapped
}

/// The numbered lines outside fenced code.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_fence && !is_code).then_some((index + 1, line))
    })
}

/// The line without its code spans. A backtick without a partner stays.
fn without_code(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once('`') {
        let Some((_, after_code)) = after.split_once('`') else { break };
        kept.push_str(before);
        rest = after_code;
    }
    kept + rest
}

/// `[text](target)` becomes `text`.
fn without_links(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((outside, label)) = before.rsplit_once('[') else { break };
        kept.push_str(outside);
        kept.push_str(label);
        rest = after.get(closing_parenthesis(after) + 1..).unwrap_or_default();
    }
    kept + rest
}

/// Where the parenthesis ends that was opened before `text`.
fn closing_parenthesis(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The link whose target, perhaps with a title, is `text`.
fn link(line: usize, text: &str) -> Option<Link> {
    let text = text.trim();
    let target = match text.strip_prefix('<') {
        Some(rest) => rest.split('>').next(),
        None => text.split_whitespace().next(),
    };
    target.map(|target| Link { line, target: target.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "# A [b](c.md)\n\
                    [d](e.md#part) and [f](<g h.md>), [i](j_(k).md \"title\")\n\
                    `[x](y.md)` and a ` alone, [l](m.md)\n\
                    ```\n[x](y.md)\n```\n\
                    [n]: ../o.md\n\
                    [^1]: a note\n";
        let found: Vec<_> = links(text).into_iter().map(|link| (link.line, link.target)).collect();
        let expected = [
            (1, "c.md"),
            (2, "e.md#part"),
            (2, "g h.md"),
            (2, "j_(k).md"),
            (3, "m.md"),
            (7, "../o.md"),
        ];
        assert_eq!(found, expected.map(|(line, target)| (line, target.to_owned())));
    }

    #[test]
    fn the_first_sentence_ends_before_the_next_one() {
        let text = "# Title\n\n    a command\n\n\
                    The [net](../n.md) reaches 85.6 %, e.g. at\nT = 8. More.\n";
        assert_eq!(heading(text).unwrap(), "Title");
        assert_eq!(first_sentence(text).unwrap(), "The net reaches 85.6 %, e.g. at T = 8.");
        assert_eq!(first_sentence("# T\nNo full stop").unwrap(), "No full stop");
        assert_eq!(first_sentence("# T\n\n| a | b |\n"), None);
        assert_eq!(heading("```\n# a comment\n```\n"), None);
    }

    #[test]
    fn lines_are_filled_up_to_their_width() {
        assert_eq!(wrap("- aa bb cc", 2, 7), "- aa bb\n  cc");
        assert_eq!(wrap("- aa bb cc", 2, 6), "- aa\n  bb\n  cc");
        assert_eq!(wrap("longer than that", 0, 3), "longer\nthan\nthat");
        assert_eq!(wrap("µµ µµ", 0, 5), "µµ µµ");
    }
}
