//! Hostile text, for every way on which people are told.

/// Texts that hide something, or look like something of ours.
pub(crate) const CORPUS: [&str; 12] = [
    "invoice\u{202e}fdp.exe",
    "\u{2066}admin\u{2069} \u{2067}x\u{2069}",
    "pass\u{200b}word\u{200d}\u{feff}",
    "no\u{2060}where",
    "hello\u{e0041}\u{e0042}",
    "\u{1b}[2J\u{1b}[31mAPPROVED\u{1b}[0m\u{1b}]0;title\u{7}",
    "harmless\u{0}; drop everything",
    "a\u{9b}31mb",
    "rm -rf /\u{8}\u{8}\u{8}\u{8}",
    "<script>alert(1)</script><!channel> <@U123> *bold* \"'&amp;",
    "1500\r\nApproved by: Ana Almeida\r\n\r\nstate done",
    "```\n# **Approved**\n[here](javascript:alert(1)) ⟨U+202E⟩",
];

/// Whether it holds a character that nobody would see, or that would change how its neighbours are seen.
pub(crate) fn hides(text: &str) -> bool {
    let unseen = "\u{202e}\u{200b}\u{200d}\u{2060}\u{feff}\u{2066}\u{2067}\u{2069}\u{e0041}\u{e0042}";
    // These two are a line's end.
    text.replace("\r\n", "\n").chars().any(|one| (one.is_control() && one != '\n') || unseen.contains(one))
}
