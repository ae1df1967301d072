//! Access tokens that the server did not give, or gave for something else. Most of them are signed
//! with the server's own key, so that nothing but the fault itself can be why they are refused.

use bellwether_tests::client::PASSWORD;
use bellwether_tests::tokens::{Forger, base64url, hmac_sign, part, sha256};
use bellwether_tests::{Answer, Api, Server, User, on_each_store};
use serde_json::{Map, Value, json};

/// A token of the server's own, and what it takes to make others like it.
struct Mint {
    token: String,
    head: Value,
    claims: Value,
    ours: Forger,
    theirs: Forger,
    public: Vec<u8>,
    now: i64,
}

/// What is wrong with a token, and the token.
type Case = (&'static str, String);

impl Mint {
    async fn of(server: &Server, user: &User) -> Self {
        let keys = server.api().request("GET", "//.well-known/jwks.json").send().await.expect(200);
        let (head, claims) = (part(&user.token, 0), part(&user.token, 1));
        Self {
            token: user.token.clone(),
            now: claims["iat"].as_i64().expect("a time"),
            head,
            claims,
            ours: Forger::with_key_of(&server.installation().data_dir()),
            theirs: Forger::with_seed(&[7; 32]),
            public: keys.body["keys"][0]["x"].as_str().expect("a public key").as_bytes().to_vec(),
        }
    }

    /// Signed well, with a header field that is another, or missing where it is null.
    fn head(&self, name: &str, value: Value) -> String {
        self.ours.sign(&with(&self.head, name, value).to_string(), &self.claims.to_string())
    }

    /// Signed well, with a claim that is another, or missing where it is null.
    fn claim(&self, name: &str, value: Value) -> String {
        self.ours.sign(&self.head.to_string(), &with(&self.claims, name, value).to_string())
    }

    /// Signed well, with claims in which this text stands for another.
    fn text(&self, from: &str, to: &str) -> String {
        let claims = self.claims.to_string();
        assert!(claims.contains(from), "{from} is not in {claims}");
        self.ours.sign(&self.head.to_string(), &claims.replace(from, to))
    }

    /// Whoever has no key changes a token, or signs with what is public.
    fn signatures(&self) -> Vec<Case> {
        let parts: Vec<&str> = self.token.split('.').collect();
        let (head, claims, signature) = (parts[0], parts[1], parts[2]);
        let none = |alg: &str| base64url(with(&self.head, "alg", json!(alg)).to_string());
        let hmac =
            |key: &[u8]| hmac_sign(key, &with(&self.head, "alg", json!("HS256")).to_string(), &self.claims.to_string());
        let other = base64url(with(&self.claims, "role", json!("admin")).to_string());
        vec![
            ("alg none, signature kept", format!("{}.{claims}.{signature}", none("none"))),
            ("alg none, signature empty", format!("{}.{claims}.", none("none"))),
            ("alg None", format!("{}.{claims}.", none("None"))),
            ("alg NONE, two parts", format!("{}.{claims}", none("NONE"))),
            ("alg empty", format!("{}.{claims}.", none(""))),
            ("signature stripped", format!("{head}.{claims}.")),
            ("signature and dot stripped", format!("{head}.{claims}")),
            ("signature cut", self.token[..self.token.len() - 4].to_owned()),
            ("signature doubled", format!("{}{signature}", self.token)),
            ("signature padded", format!("{}==", self.token)),
            ("signature of zeros", format!("{head}.{claims}.{}", base64url([0_u8; 64]))),
            ("signature a plain hash", format!("{head}.{claims}.{}", base64url(sha256(claims.as_bytes())))),
            ("four parts", format!("{}.{signature}", self.token)),
            ("encrypted, by its looks", format!("{}.{signature}.{signature}", self.token)),
            ("claims changed", format!("{head}.{other}.{signature}")),
            ("HMAC with the public key as it is published", hmac(&self.public)),
            ("HMAC with nothing", hmac(b"")),
            ("another's key under our kid", self.theirs.sign(&self.head.to_string(), &self.claims.to_string())),
            ("nonsense", "x".to_owned()),
            ("dots", "..".to_owned()),
            ("long", "x".repeat(2049)),
            ("longer", "x".repeat(6000)),
        ]
    }

    fn heads(&self) -> Vec<Case> {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url([7_u8; 32]) });
        let bring = |name: &str, value: Value| {
            self.theirs.sign(&with(&self.head, name, value).to_string(), &self.claims.to_string())
        };
        vec![
            ("HS256 by its header", self.head("alg", json!("HS256"))),
            ("RS256 by its header", self.head("alg", json!("RS256"))),
            ("Ed448 by its header", self.head("alg", json!("Ed448"))),
            ("eddsa in small letters", self.head("alg", json!("eddsa"))),
            ("no alg", self.head("alg", Value::Null)),
            ("alg a list", self.head("alg", json!(["EdDSA"]))),
            ("no kid", self.head("kid", Value::Null)),
            ("kid unknown", self.head("kid", json!("unknown"))),
            ("kid empty", self.head("kid", json!(""))),
            ("kid a path", self.head("kid", json!("../../../../dev/null"))),
            ("kid SQL", self.head("kid", json!("x' OR '1'='1"))),
            ("kid a number", self.head("kid", json!(0))),
            ("no typ", self.head("typ", Value::Null)),
            ("typ of another kind", self.head("typ", json!("at+jwt"))),
            ("its own key", bring("jwk", jwk)),
            ("a key elsewhere", bring("jku", json!("http://127.0.0.1:9/jwks.json"))),
            ("a certificate elsewhere", bring("x5u", json!("http://127.0.0.1:9/cert"))),
            ("a certificate", bring("x5c", json!(["MIIB"]))),
            ("something critical", self.head("crit", json!(["exp"]))),
            ("compressed", self.head("zip", json!("DEF"))),
            ("not base64", self.ours.sign_parts("{}", &base64url(self.claims.to_string()))),
            ("no JSON", self.ours.sign("EdDSA", &self.claims.to_string())),
            ("alg twice", self.ours.sign(&twice(&self.head, "alg", "none"), &self.claims.to_string())),
        ]
    }

    fn claims(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = [
            ("no iss", "iss"),
            ("no aud", "aud"),
            ("no sub", "sub"),
            ("no jti", "jti"),
            ("no iat", "iat"),
            ("no nbf", "nbf"),
            ("no exp", "exp"),
            ("no type", "type"),
            ("no role", "role"),
            ("no sid", "sid"),
        ]
        .map(|(what, name)| (what, self.claim(name, Value::Null)))
        .into();
        let nobody = json!("0193a5e0-0000-7000-8000-000000000000");
        cases.extend([
            ("another issuer", self.claim("iss", json!("other"))),
            ("another audience", self.claim("aud", json!("other"))),
            ("audiences of which we are one", self.claim("aud", json!(["other", "somebody"]))),
            ("a refresh token by its type", self.claim("type", json!("refresh"))),
            ("type ACCESS", self.claim("type", json!("ACCESS"))),
            ("a user who does not exist", self.claim("sub", nobody.clone())),
            ("a session that does not exist", self.claim("sid", nobody)),
            ("sub no id", self.claim("sub", json!("admin"))),
            ("a role that does not exist", self.claim("role", json!("root"))),
            ("a claim that nobody knows", self.claim("scope", json!("admin"))),
            ("expired", self.claim("exp", json!(self.now - 31))),
            ("expired long ago", self.claim("exp", json!(0))),
            ("exp negative", self.claim("exp", json!(-1))),
            ("exp a text", self.claim("exp", json!((self.now + 900).to_string()))),
            ("exp a fraction", self.text(&format!("\"exp\":{}", self.now + 900), "\"exp\":9e18")),
            ("exp with a decimal point", self.text(&format!("\"exp\":{}", self.now + 900), "\"exp\":4102444800.5")),
            ("exp 2^63", self.claim("exp", json!(9_223_372_036_854_775_808_u64))),
            ("exp beyond all time", self.claim("exp", json!(9_223_372_036_854_775_807_i64))),
            ("exp true", self.claim("exp", json!(true))),
            ("not yet valid", self.claim("nbf", json!(self.now + 3600))),
            ("nbf a text", self.claim("nbf", json!(self.now.to_string()))),
            ("given in the future", self.claim("iat", json!(self.now + 3600))),
            ("exp twice", self.ours.sign(&self.head.to_string(), &twice(&self.claims, "exp", "9"))),
            ("claims a list", self.ours.sign(&self.head.to_string(), "[]")),
            ("claims empty", self.ours.sign(&self.head.to_string(), "")),
            ("claims no UTF-8", self.ours.sign_parts(&base64url(self.head.to_string()), &base64url(b"\xff\xfe{}"))),
        ]);
        cases
    }
}

/// An object with a field that is another, or missing where it is null.
fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut fields: Map<String, Value> = object.as_object().expect("an object").clone();
    match value {
        Value::Null => fields.remove(name),
        value => fields.insert(name.to_owned(), value),
    };
    Value::Object(fields)
}

/// An object with a field twice, the other value first.
fn twice(object: &Value, name: &str, first: &str) -> String {
    let text = object.to_string();
    format!("{{\"{name}\":\"{first}\",{}", text.strip_prefix('{').expect("an object"))
}

async fn who_am_i(api: &Api, token: &str) -> Answer {
    api.request("GET", "/users/me").header("Authorization", &format!("Bearer {token}")).send().await
}

/// Threats 4, 5 and 6.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_the_server_did_not_give_for_this_are_refused() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let mint = Mint::of(&server, &ann).await;
        assert_eq!(mint.head, json!({ "typ": "JWT", "alg": "EdDSA", "kid": mint.head["kid"] }));
        // The forger is able: what it signs without a fault is taken.
        who_am_i(api, &mint.claim("jti", json!("0193a5e0-0000-7000-8000-000000000001"))).await.expect(200);
        who_am_i(api, &mint.claim("exp", json!(mint.now + 60))).await.expect(200);

        let cases: Vec<Case> = [mint.signatures(), mint.heads(), mint.claims()].concat();
        assert!(cases.len() >= 80, "{}", cases.len());
        for (what, token) in &cases {
            let answer = who_am_i(api, token).await;
            assert_eq!((answer.status, answer.code()), (401, "UNAUTHENTICATED"), "{what}: {}", answer.text);
            assert!(answer.header("www-authenticate").contains("invalid_token"), "{what}");
        }
        let logged = server.logged();
        assert!(!logged.contains("panicked") && !logged.contains(&mint.token), "a token is in the log");
        who_am_i(api, &ann.token).await.expect(200);
    })
    .await;
}

/// Threat 16: what a token says of the role counts for nothing that the user's own role does not allow.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_a_token_makes_nobody_an_administrator() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let mint = Mint::of(&server, &ann).await;
        let admin = User { token: mint.claim("role", json!("admin")), ..ann.clone() };
        let answer = api.get("/users", &admin).await;
        assert!(matches!(answer.status, 401 | 403), "a list of all users: {}", answer.text);
        let grant = json!({ "toUserId": ann.id, "amount": "1", "reason": "none" });
        let answer = api.post("/admin/grants", &admin, grant).await;
        assert!(matches!(answer.status, 401 | 403), "a grant: {}", answer.text);
        // Somebody else's session in one's own token, and one's own in another's.
        let bobs = Mint::of(&server, &bob).await;
        for token in [mint.claim("sid", bobs.claims["sid"].clone()), mint.claim("sub", json!(bob.id))] {
            who_am_i(api, &token).await.refused(401, "UNAUTHENTICATED");
        }
    })
    .await;
}

/// Threat 5: how a token is brought, and where it does not belong.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_one_header_and_nowhere_else() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let token = &ann.token;
        let sign_in = json!({ "email": ann.email, "password": PASSWORD });
        let refresh = api.request("POST", "/auth/login").json(&sign_in).send().await.expect(200).text("/refreshToken");
        for value in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            token.clone(),
            format!("Basic {token}"),
            format!("Token {token}"),
            format!("Bearer {token} {token}"),
            format!("Bearer {token},Bearer {token}"),
            format!("Bearer \"{token}\""),
            format!("Bearer {refresh}"),
        ] {
            let answer = api.request("GET", "/users/me").header("Authorization", &value).send().await;
            answer.refused(401, "UNAUTHENTICATED");
        }
        let twice = api.request("GET", "/users/me").by(&ann).by(&ann);
        twice.send().await.refused(401, "UNAUTHENTICATED");
        for name in ["X-Authorization", "Proxy-Authorization", "X-Access-Token", "Cookie"] {
            let value = if name == "Cookie" { format!("access_token={token}") } else { format!("Bearer {token}") };
            let answer = api.request("GET", "/users/me").header(name, &value).send().await;
            answer.refused(401, "UNAUTHENTICATED");
        }
        for parameter in ["access_token", "token"] {
            let answer = api.request("GET", &format!("/users/me?{parameter}={token}")).send().await;
            assert!(matches!(answer.status, 400 | 401), "{parameter}: {}", answer.text);
        }
        api.get("/users/me", &ann).await.expect(200);
    })
    .await;
}
