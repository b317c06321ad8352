//! JSON Web Tokens as `/_open/auth` hands them out: HS256 (RFC 7515, 7518, 7519), one key for all nodes.
//!
//! Promises: a token is taken only if it is signed with this key by this algorithm and has not expired; the
//! header's own word about the algorithm is compared, never obeyed. Does not know whether the user still
//! exists. Times are seconds since the epoch of Unix.

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
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

fn mac(key: &[u8], signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is allowed");
    mac.update(signed.as_bytes());
    mac
}

/// A token for `user`, good from now on.
pub fn issue(key: &[u8], user: &str, now_s: u64) -> String {
    let claims = Claims {
        iss: ISSUER.to_owned(),
        preferred_username: user.to_owned(),
        iat: now_s.saturating_sub(CLOCK_SKEW_S),
        exp: now_s + LIFETIME_S,
    };
    let claims = serde_json::to_vec(&claims).expect("claims are plain data");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// The user that a token was issued for.
///
/// # Errors
/// See [`TokenError`].
pub fn verify(key: &[u8], token: &str, now_s: u64) -> Result<String, TokenError> {
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
    Ok(claims.preferred_username)
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
        let token = issue(&KEY, "ann", NOW);
        assert_eq!(verify(&KEY, &token, NOW), Ok("ann".to_owned()));
        assert_eq!(verify(&KEY, &token, NOW + LIFETIME_S - 1), Ok("ann".to_owned()));
        assert_eq!(verify(&KEY, &token, NOW + LIFETIME_S), Err(TokenError::Expired));
        assert_eq!(verify(&[4; KEY_BYTES], &token, NOW), Err(TokenError::Signature));
    }

    #[test]
    fn what_was_changed_or_is_signed_otherwise_is_refused() {
        let token = issue(&KEY, "ann", NOW);
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
