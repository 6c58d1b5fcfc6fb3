//! The timestamps of a request, as a core looks at them.

use highlander::base::time::UnixMillis;
use highlander::wire::remote_write::first::first_timestamp;
use highlander::wire::remote_write::points::Span;
use highlander::wire::remote_write::push::Push;
use highlander::wire::remote_write::snappy::Decoder;

pub fn span_of(push: &Push) -> Option<Span> {
    let (decoder, times) = (&mut Decoder::default(), &mut Vec::new());
    Span::of_block(push.protocol(), push.body(), 1 << 20, decoder, times).ok()?
}

pub fn first_of(push: &Push) -> Option<UnixMillis> {
    first_timestamp(push.protocol(), push.body(), 1 << 20, &mut Vec::new()).map(UnixMillis)
}
