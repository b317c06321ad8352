//! JSON Web Tokens as `/_open/auth` hands them out: HS256 (RFC 7515, 7518, 7519), one key for all nodes.
//!
//! Promises: a token is taken only if it is signed with this key by this algorithm and has not expired; the
//! header's own word about the algorithm is compared, never obeyed. A token says by a fingerprint for which
//! stored password it was issued; whether the user still exists and has that password is for the caller to ask.
//! Times are seconds since the epoch of Unix.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a token is good.
pub const LIFETIME_S: u64 = 3600;
/// Tokens are dated back by this, because drivers refuse one from the future: clocks differ.
pub const CLOCK_SKEW_S: u64 = 60;
/// Bytes of a key: as many as the hash has.
pub const KEY_BYTES: usize = 32;
/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 16;
const _: () = assert!(FINGERPRINT_BYTES <= KEY_BYTES && CLOCK_SKEW_S < LIFETIME_S);
/// Who ArangoDB's drivers expect to have made a token.
const ISSUER: &str = "arangodb";
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is no token of this group")]
    Malformed,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    preferred_username: String,
    /// The fingerprint of the stored password.
    credential: String,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// For whom a token was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub user: String,
    /// The [`fingerprint`] of the password that was stored then.
    pub credential: String,
}

/// A key made from something secret, another one for each purpose.
pub fn derived_key(secret: &[u8], purpose: &str) -> [u8; KEY_BYTES] {
    mac(secret, purpose).finalize().into_bytes().into()
}

/// What a token tells of the stored password: enough to notice another one, nothing about this one.
pub fn fingerprint(key: &[u8], stored: &str) -> String {
    // What is signed as a token begins with base64, which has no such character.
    let whole = mac(key, &format!("\0password {stored}")).finalize().into_bytes();
    URL_SAFE_NO_PAD.encode(&whole[..FINGERPRINT_BYTES])
}

fn mac(key: &[u8], signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is allowed");
    mac.update(signed.as_bytes());
    mac
}

/// A token for `user`, whose password is stored as this, good from now on.
pub fn issue(key: &[u8], user: &str, stored: &str, now_s: u64) -> String {
    let claims = Claims {
        iss: ISSUER.to_owned(),
        preferred_username: user.to_owned(),
        credential: fingerprint(key, stored),
        iat: now_s.saturating_sub(CLOCK_SKEW_S),
        exp: now_s + LIFETIME_S,
    };
    let claims = serde_json::to_vec(&claims).expect("claims are plain data");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &signed).finalize().into_bytes());
    let token = format!("{signed}.{signature}");
    assert!(verify(key, &token, now_s).is_ok(), "a token that is handed out is taken");
    token
}

/// For whom a token was issued.
///
/// # Errors
/// See [`TokenError`].
pub fn verify(key: &[u8], token: &str, now_s: u64) -> Result<Holder, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
    mac(key, signed).verify_slice(&signature).map_err(|_| TokenError::Signature)?;
    let header: Header = parsed(header)?;
    let claims: Claims = parsed(claims)?;
    if header.alg != "HS256" || claims.iss != ISSUER {
        return Err(TokenError::Malformed);
    }
    if claims.exp <= now_s {
        return Err(TokenError::Expired);
    }
    Ok(Holder { user: claims.preferred_username, credential: claims.credential })
}

fn parsed<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_BYTES] = [3; KEY_BYTES];
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_token_is_good_until_it_expires() {
        let token = issue(&KEY, "ann", "hash", NOW);
        let ann = || Ok(Holder { user: "ann".to_owned(), credential: fingerprint(&KEY, "hash") });
        assert_eq!(verify(&KEY, &token, NOW), ann());
        assert_eq!(verify(&KEY, &token, NOW + LIFETIME_S - 1), ann());
        assert_ne!(fingerprint(&KEY, "hash"), fingerprint(&KEY, "other"));
        assert_ne!(derived_key(&KEY, "one"), derived_key(&KEY, "other"));
        assert_eq!(verify(&KEY, &token, NOW + LIFETIME_S), Err(TokenError::Expired));
        assert_eq!(verify(&[4; KEY_BYTES], &token, NOW), Err(TokenError::Signature));
    }

    #[test]
    fn what_was_changed_or_is_signed_otherwise_is_refused() {
        let token = issue(&KEY, "ann", "hash", NOW);
        let parts: Vec<&str> = token.split('.').collect();
        let forged =
            URL_SAFE_NO_PAD.encode(r#"{"iss":"arangodb","preferred_username":"root","iat":0,"exp":9e9}"#);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for bad in [
            format!("{}.{forged}.{}", parts[0], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            String::new(),
            "...".to_owned(),
        ] {
            assert!(verify(&KEY, &bad, NOW).is_err(), "{bad}");
        }
        let signed = format!("{none}.{}", parts[1]);
        let signature = URL_SAFE_NO_PAD.encode(mac(&KEY, &signed).finalize().into_bytes());
        assert_eq!(verify(&KEY, &format!("{signed}.{signature}"), NOW), Err(TokenError::Malformed));
    }

    #[test]
    fn the_signature_is_the_one_of_the_standard() {
        // RFC 7515, appendix A.1.
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = mac(&URL_SAFE_NO_PAD.decode(key).unwrap(), signed).finalize().into_bytes();
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    }
}
