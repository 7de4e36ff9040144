//! Text of unknown origin for a terminal.

/// A text, which anybody may have chosen, without what would give orders to a terminal: control
/// characters, and those that turn the direction of writing, are escaped.
pub fn printable(text: &str) -> String {
    let shown = |character: char| match character.is_control() || turns(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Whether a character changes the order in which its neighbours are shown.
fn turns(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_no_orders_to_terminals() {
        assert_eq!(printable("jack-o'-lantern, Kürbis"), "jack-o'-lantern, Kürbis");
        assert_eq!(printable("\u{1b}[31mred\r"), "\\u{1b}[31mred\\r");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }
}
