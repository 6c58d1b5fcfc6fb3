//! The symbols of a version 2 request: every string once, referred to by its number.

use super::error::BodyError;
use super::protobuf::Fields;

/// The field of a request that holds a symbol.
const REQUEST_SYMBOL: u32 = 4;

/// What the table may keep from one request to the next, in symbols: a request of 2000 samples has
/// some thousands.
const SYMBOLS_KEPT_MAX: usize = 1 << 15;

/// Where the symbols of one request lie; lent by the caller, so that it is allocated once.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    places: Vec<Place>,
}

/// From where to where a symbol lies in a body, which is shorter than 4 GiB.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    length: u32,
}

/// A symbol, and what follows it in the body: a copy of fixed size costs less than one of the
/// right size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol<'b> {
    /// The body from the first byte of the symbol on, of at least its length.
    pub text: &'b [u8],
    pub length: usize,
}

impl<'b> Symbol<'b> {
    pub fn bytes(&self) -> &'b [u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

impl Symbols {
    /// Reads the symbols of a decoded request, which may stand before, between and after its
    /// series. Takes no more than `bytes_max` bytes of memory: an empty symbol takes two bytes in
    /// a body, and eight here.
    pub fn read(&mut self, body: &[u8], bytes_max: usize) -> Result<(), BodyError> {
        self.places.clear();
        self.places.shrink_to(SYMBOLS_KEPT_MAX);
        if u32::try_from(body.len()).is_err() {
            return Err(BodyError::TooManySymbols);
        }
        let mut fields = Fields::of(body);
        while let Some(field) = fields.next() {
            let (REQUEST_SYMBOL, value) = field? else { continue };
            let length = value.bytes()?.len();
            let start = body.len() - fields.rest().len() - length;
            if self.places.len() >= bytes_max / size_of::<Place>() {
                return Err(BodyError::TooManySymbols);
            }
            self.places.push(Place { start: start as u32, length: length as u32 });
        }
        Ok(())
    }

    /// The symbol with this number in `body`, which must be the one that was read.
    #[inline]
    pub fn symbol<'b>(&self, body: &'b [u8], number: u64) -> Result<Symbol<'b>, BodyError> {
        let place = usize::try_from(number).ok().and_then(|number| self.places.get(number));
        let place = place.ok_or(BodyError::NoSuchSymbol)?;
        let text = body.get(place.start as usize..).ok_or(BodyError::NoSuchSymbol)?;
        Ok(Symbol { text, length: place.length as usize })
    }

    /// The bytes allocated.
    pub fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }
}
