//! Shamir's secret sharing in GF(257), byte by byte, in the words that Azure's clients read.
//!
//! Each byte is the constant of its own random polynomial of degree M - 1. Holder `i`, counted from
//! 0, gets every polynomial's value at `x = i + 1`. A value is 0 to 256, nine bits; the word
//! `x << 9 | value` is written little-endian, one after the other.

use zeroize::Zeroizing;

use crate::Hidden;
use crate::field::Element;

/// Length of a secret that is split, in bytes.
pub const SECRET_BYTES: usize = 32;

/// Bits of a value in a word.
const VALUE_BITS: u32 = 9;
/// Those bits.
const VALUE_MASK: u16 = (1 << VALUE_BITS) - 1;
/// Bytes of a word.
const WORD_BYTES: usize = 2;
/// The most values in one share: what the longest secret could have.
const VALUES_MAX: usize = 256;

/// One holder's share, taken apart.
pub struct Share {
    at: u16,
    values: Zeroizing<Vec<u16>>,
}

/// Why bytes are no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// An odd number of bytes, none, or too many.
    #[error("a share has an even number of bytes up to 512, not {bytes}")]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// The words are of different holders, or of none.
    #[error("the words of the share do not all belong to one place from 1 to 127")]
    Place,
    /// A value that no polynomial takes.
    #[error("a word of the share has a value above 256")]
    Value,
}

/// Why shares give no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// One share alone opens nothing.
    #[error("{found} shares are too few: at least 2 are needed")]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// The same place twice: the same share, or shares of different splits.
    #[error("two shares are of the same place; each must be another holder's")]
    SamePlace,
    /// Shares of secrets of different lengths.
    #[error("the shares have different lengths; they are not of one split")]
    Lengths,
    /// What comes out is not made of bytes.
    #[error("the shares do not fit together; one is damaged or of another split")]
    DoNotFit,
}

/// Splits a secret among so many holders, any `required` of whom bring it back. `random` fills a
/// buffer; it must be unpredictable.
///
/// # Panics
/// If `required` is 0 or beyond `holders`, or `holders` beyond 127: a `Quorum` is within.
pub fn split(
    secret: &Hidden,
    required: u8,
    holders: u8,
    random: &mut dyn FnMut(&mut [u8]),
) -> Vec<Hidden> {
    assert!(required > 0 && required <= holders && holders < 128, "a quorum is within the rules");
    let room = secret.len() * WORD_BYTES;
    let mut shares: Vec<Zeroizing<Vec<u8>>> =
        (0..holders).map(|_| Zeroizing::new(Vec::with_capacity(room))).collect();
    let mut polynomial = Zeroizing::new(vec![0_u16; usize::from(required)]);
    for byte in secret.expose() {
        polynomial[0] = u16::from(*byte);
        for coefficient in polynomial.iter_mut().skip(1) {
            *coefficient = draw(random);
        }
        for (share, at) in shares.iter_mut().zip(1_u16..) {
            let word = at << VALUE_BITS | value(&polynomial, at);
            share.extend_from_slice(&word.to_le_bytes());
        }
    }
    shares.into_iter().map(|mut share| Hidden::new(std::mem::take(&mut *share))).collect()
}

/// The polynomial's value, by Horner.
fn value(polynomial: &[u16], at: u16) -> u16 {
    let at = element(at);
    let value = polynomial
        .iter()
        .rev()
        .fold(Element::ZERO, |value, coefficient| value.times(at).plus(element(*coefficient)));
    value.number()
}

fn element(number: u16) -> Element {
    Element::new(number).expect("coefficients and places are below 257")
}

/// A uniform number from 0 to 256. What is drawn again was thrown away: its time tells nothing.
fn draw(random: &mut dyn FnMut(&mut [u8])) -> u16 {
    let mut bytes = Zeroizing::new([0; WORD_BYTES]);
    loop {
        random(bytes.as_mut_slice());
        let number = u16::from_le_bytes(*bytes) & VALUE_MASK;
        if Element::new(number).is_some() {
            return number;
        }
    }
}

impl Share {
    /// Takes a share apart.
    pub fn parse(bytes: &Hidden) -> Result<Self, ShareError> {
        let wrong_length = ShareError::Length { bytes: bytes.len() };
        let (words, rest) = bytes.expose().as_chunks::<WORD_BYTES>();
        if words.is_empty() || !rest.is_empty() || words.len() > VALUES_MAX {
            return Err(wrong_length);
        }
        let mut values = Zeroizing::new(Vec::with_capacity(words.len()));
        let place = |word: u16| word >> VALUE_BITS;
        let at = place(u16::from_le_bytes(words[0]));
        for word in words {
            let word = u16::from_le_bytes(*word);
            if at == 0 || place(word) != at {
                return Err(ShareError::Place);
            }
            let value = word & VALUE_MASK;
            Element::new(value).ok_or(ShareError::Value)?;
            values.push(value);
        }
        Ok(Self { at, values })
    }

    /// The holder's place, from 1.
    pub fn place(&self) -> u16 {
        self.at
    }
}

/// Brings the secret back, by Lagrange at zero over all shares given. That they are enough, and of
/// one split, shows only in what the secret opens.
pub fn combine(shares: &[Share]) -> Result<Hidden, CombineError> {
    let Some(first) = shares.first().filter(|_| shares.len() > 1) else {
        return Err(CombineError::TooFew { found: shares.len() });
    };
    for (position, share) in shares.iter().enumerate() {
        if share.values.len() != first.values.len() {
            return Err(CombineError::Lengths);
        }
        if shares.iter().take(position).any(|other| other.at == share.at) {
            return Err(CombineError::SamePlace);
        }
    }
    let weights: Vec<Element> = shares.iter().map(|share| weight(share, shares)).collect();
    let mut secret = Zeroizing::new(Vec::with_capacity(first.values.len()));
    let mut beyond = 0;
    for position in 0..first.values.len() {
        let sum = shares.iter().zip(&weights).fold(Element::ZERO, |sum, (share, weight)| {
            let value = share.values.get(position).copied().unwrap_or_default();
            sum.plus(element(value).times(*weight))
        });
        let [low, high] = sum.number().to_le_bytes();
        beyond |= high;
        secret.push(low);
    }
    if beyond != 0 {
        return Err(CombineError::DoNotFit);
    }
    Ok(Hidden::new(std::mem::take(&mut *secret)))
}

/// The product of x_j / (x_j - x_i) over the other places.
fn weight(share: &Share, shares: &[Share]) -> Element {
    let own = element(share.at);
    shares.iter().filter(|other| other.at != share.at).fold(Element::ONE, |product, other| {
        let other = element(other.at);
        product.times(other).times(other.minus(own).inverse())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reproducible source: xorshift, for tests alone.
    struct Source(u64);

    impl Source {
        fn fill(&mut self, out: &mut [u8]) {
            for byte in out {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                *byte = self.0.to_le_bytes()[3];
            }
        }

        fn below(&mut self, bound: u64) -> u64 {
            let mut bytes = [0; 8];
            self.fill(&mut bytes);
            u64::from_le_bytes(bytes) % bound
        }
    }

    fn parsed(shares: &[Hidden]) -> Vec<Share> {
        shares.iter().map(|share| Share::parse(share).unwrap()).collect()
    }

    /// A source that gives these numbers in turn, as little-endian words.
    fn given(numbers: &[u16]) -> impl FnMut(&mut [u8]) {
        let mut numbers = numbers.to_vec().into_iter();
        move |out| out.copy_from_slice(&numbers.next().unwrap().to_le_bytes())
    }

    #[test]
    fn the_known_polynomial_gives_the_known_words() {
        // f(x) = 255 + 256 x + x^2: checked against the decoder of Azure's command line.
        let secret = Hidden::new(vec![255]);
        let shares = split(&secret, 3, 5, &mut given(&[256, 1]));
        let words: Vec<u16> = shares
            .iter()
            .map(|share| u16::from_le_bytes(share.expose().try_into().unwrap()))
            .collect();
        assert_eq!(words, [0x2ff, 0x400, 0x604, 0x80a, 0xa12]);
        let all = parsed(&shares);
        for chosen in [[0, 2, 4], [4, 2, 0], [1, 2, 3]] {
            let some: Vec<Share> =
                chosen.iter().map(|at| Share::parse(&shares[*at]).unwrap()).collect();
            assert_eq!(combine(&some).unwrap().expose(), [255], "{chosen:?}");
        }
        assert_eq!(all.iter().map(Share::place).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_value_256_occurs_and_is_carried() {
        // f(x) = 0 + 256 x: 256 at 1.
        let shares = split(&Hidden::new(vec![0]), 2, 3, &mut given(&[256]));
        assert_eq!(shares[0].expose(), (1_u16 << 9 | 256).to_le_bytes());
        assert_eq!(combine(&parsed(&shares[..2])).unwrap().expose(), [0]);
    }

    #[test]
    fn any_quorum_in_any_order_brings_back_any_secret() {
        let mut source = Source(0x5eed_5eed_5eed_5eed);
        for holders in 3..=10_u8 {
            for required in 2..=holders {
                let mut bytes = vec![0; SECRET_BYTES];
                source.fill(&mut bytes);
                (bytes[0], bytes[1]) = (0x00, 0xff);
                let secret = Hidden::new(bytes);
                let shares = split(&secret, required, holders, &mut |out| source.fill(out));
                assert_eq!(shares.len(), usize::from(holders));
                assert!(shares.iter().all(|share| share.len() == 64));
                for _ in 0..8 {
                    let mut left: Vec<usize> = (0..shares.len()).collect();
                    let chosen: Vec<Share> = (0..required)
                        .map(|_| {
                            let bound = u64::try_from(left.len()).unwrap();
                            let at = usize::try_from(source.below(bound)).unwrap();
                            Share::parse(&shares[left.remove(at)]).unwrap()
                        })
                        .collect();
                    assert!(combine(&chosen).unwrap() == secret, "{required} of {holders}");
                }
                // More than needed fit as well.
                assert!(combine(&parsed(&shares)).unwrap() == secret);
            }
        }
    }

    #[test]
    fn one_too_few_tells_nothing() {
        // Of a split in 2 of 3, one share's value is uniform whatever the secret is.
        let mut source = Source(7);
        for byte in [0, 1, 255] {
            let mut seen = [0_u32; 257];
            for _ in 0..257 * 40 {
                let shares = split(&Hidden::new(vec![byte]), 2, 3, &mut |out| source.fill(out));
                let word = u16::from_le_bytes(shares[1].expose().try_into().unwrap());
                seen[usize::from(word & VALUE_MASK)] += 1;
            }
            assert!(seen.iter().all(|count| (10..100).contains(count)), "{seen:?}");
        }
        // And one share less than needed gives something else.
        let secret = Hidden::new(vec![9; SECRET_BYTES]);
        let shares = split(&secret, 3, 5, &mut |out| source.fill(out));
        let got = combine(&parsed(&shares[..2]));
        assert!(got.is_err() || got.is_ok_and(|got| got != secret));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        let parse = |bytes: &[u8]| Share::parse(&Hidden::copied(bytes)).map(drop);
        for bytes in [0, 1, 63, 513, 514] {
            assert_eq!(parse(&vec![2; bytes]), Err(ShareError::Length { bytes }));
        }
        assert_eq!(parse(&[0xff, 0x00]), Err(ShareError::Place), "place 0");
        assert_eq!(parse(&[0, 2, 0, 4]), Err(ShareError::Place), "two places");
        let beyond = 1_u16 << 9 | 257;
        assert_eq!(parse(&beyond.to_le_bytes()), Err(ShareError::Value));
        assert_eq!(parse(&(1_u16 << 9 | 511).to_le_bytes()), Err(ShareError::Value));
    }

    #[test]
    fn shares_that_do_not_belong_together_are_refused() {
        let share = |words: &[u16]| {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            Share::parse(&Hidden::new(bytes)).unwrap()
        };
        let refused = |shares: &[Share]| combine(shares).map(drop).unwrap_err();
        assert_eq!(refused(&[]), CombineError::TooFew { found: 0 });
        assert_eq!(refused(&[share(&[0x200])]), CombineError::TooFew { found: 1 });
        assert_eq!(refused(&[share(&[0x200]), share(&[0x201])]), CombineError::SamePlace);
        assert_eq!(refused(&[share(&[0x200]), share(&[0x400, 0x400])]), CombineError::Lengths);
        // 2 f(1) - f(2) = 256: no byte.
        assert_eq!(refused(&[share(&[0x200 | 128]), share(&[0x400])]), CombineError::DoNotFit);
    }
}
