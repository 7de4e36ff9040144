//! Text for a terminal and words for a shell.

/// Escapes text of unknown origin for a terminal.
///
/// Control characters and characters that change the direction of writing are escaped: a terminal
/// would take them as commands.
pub fn printable(text: &str) -> String {
    let shown = |character: char| match character.is_control() || changes_direction(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Quotes a word where a shell would split or expand it.
pub fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Whether a character changes the order in which a terminal shows its neighbours.
fn changes_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_commands_are_escaped() {
        assert_eq!(printable("jack-o'-lantern, Kürbis"), "jack-o'-lantern, Kürbis");
        assert_eq!(printable("\u{1b}[31mred\r"), "\\u{1b}[31mred\\r");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(shell_quoted("--data-dir=/a/b"), "--data-dir=/a/b");
        assert_eq!(shell_quoted("my runs"), "'my runs'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
