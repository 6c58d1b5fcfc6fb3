//! What is seen, as a page for a browser. It is one file that asks `/status` for everything it shows, so
//! that nothing from outside is ever put into HTML here.
//!
//! A browser runs only the script and the style that bear this answer's nonce: a name of a source that
//! found a way into the page would still be no script.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::wire::http::page::{Page, Status};

/// The file; `NONCE` stands where the nonce goes.
const FILE: &str = include_str!("page.html");

/// What stands for the nonce in [`FILE`].
const NONCE: &str = "NONCE";

/// Says that there is an answer for browsers and one for programs.
pub const VARY: &str = "Vary: Accept\r\n";

/// The page.
pub fn page() -> Page {
    let mut dice = [0; 16];
    if rustix::rand::getrandom(&mut dice, rustix::rand::GetRandomFlags::empty()) != Ok(dice.len()) {
        return Page::text(Status::Unavailable, "the system has no random numbers yet\n");
    }
    let nonce = BASE64_STANDARD.encode(dice);
    let headers = format!(
        "{VARY}Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; \
         style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    );
    Page::good("text/html; charset=utf-8", FILE.replace(NONCE, &nonce)).with(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_and_style_bear_the_nonce_and_nothing_else_is_run() {
        assert_eq!(FILE.matches(NONCE).count(), 2);
        assert_eq!(FILE.matches("<script nonce=\"NONCE\">").count(), 1);
        assert_eq!(FILE.matches("<style nonce=\"NONCE\">").count(), 1);
        assert_eq!((FILE.matches("<script").count(), FILE.matches("<style").count()), (1, 1));
        for way_in in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!FILE.contains(way_in), "{way_in}");
        }
        assert_ne!(page().headers, page().headers, "each answer has a nonce of its own");
    }
}
