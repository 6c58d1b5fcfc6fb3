//! An answer that is a page of our own: to people and scrapers, never to a source.

use crate::wire::http::head::Persistence;
use crate::wire::http::reply::WHO;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 202.
    Accepted,
    /// 400.
    BadRequest,
    /// 401, with the way to say who one is.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    NotAllowed,
    /// 409.
    Conflict,
    /// 413.
    TooLarge,
    /// 503.
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::Accepted => "202 Accepted",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::NotAllowed => "405 Method Not Allowed",
            Status::Conflict => "409 Conflict",
            Status::TooLarge => "413 Content Too Large",
            Status::Unavailable => "503 Service Unavailable",
        }
    }
}

/// The page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How it went.
    pub status: Status,
    /// Its type.
    pub content_type: &'static str,
    /// The methods that would do, where the one that was asked with does not.
    pub allow: Option<&'static str>,
    /// Further header lines, each with its end.
    pub headers: String,
    /// What stands on it.
    pub body: Vec<u8>,
}

impl Page {
    /// Plain text.
    pub fn text(status: Status, text: &str) -> Page {
        Page { status, ..Page::good("text/plain; charset=utf-8", text.to_owned()) }
    }

    /// What was asked for.
    pub fn good(content_type: &'static str, body: String) -> Page {
        let (status, headers) = (Status::Ok, String::new());
        Page { status, content_type, allow: None, headers, body: body.into_bytes() }
    }

    /// The same with these header lines, each with its end.
    pub fn with(self, headers: impl Into<String>) -> Page {
        Page { headers: headers.into(), ..self }
    }

    /// The head of the answer as it goes out. To HEAD that is all.
    pub fn head(&self, persistence: Persistence) -> Vec<u8> {
        let Page { status: status_of, content_type, allow, headers, body } = self;
        let (status, length) = (status_of.line(), body.len());
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{headers}"
        );
        if let Some(allow) = allow {
            head += &format!("Allow: {allow}\r\n");
        }
        if *status_of == Status::Unauthorized {
            head += WHO;
        }
        if persistence == Persistence::Close {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        head.into_bytes()
    }
}
