// Every algorithm both ways between the server and OpenSSL (through node:crypto).

import crypto from "node:crypto";

import { check, client, cryptography, equal, finish, refused, serverSees } from "./support.mjs";

const { constants } = crypto;
const hashOf = (algorithm) => `sha${algorithm.slice(2, 5)}`;
const bytes = (jwk, members) =>
  Object.fromEntries(members.map((name) => [name, Buffer.from(jwk[name], "base64url")]));

async function signatures(key, algorithm, sign, verify) {
  const data = crypto.randomBytes(100);
  const digest = crypto.createHash(hashOf(algorithm)).update(data).digest();
  const remote = cryptography(key.id);
  const made = (await serverSees("KeySign", 1, () => remote.sign(algorithm, digest))).result;
  check(verify(data, Buffer.from(made)), `${algorithm}: OpenSSL accepts the server's`);
  const foreign = sign(data);
  await serverSees("KeyVerify", 2, async () => {
    check((await remote.verify(algorithm, digest, foreign)).result, `${algorithm}: foreign`);
    const other = crypto.randomBytes(digest.length);
    check(!(await remote.verify(algorithm, other, foreign)).result, `${algorithm}: wrong`);
  });
  const byData = (await remote.signData(algorithm, data)).result;
  check(verify(data, Buffer.from(byData)), `${algorithm}: signData`);
}

async function rsa(size) {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("rsa", { modulusLength: size });
  const jwk = privateKey.export({ format: "jwk" });
  const members = bytes(jwk, ["n", "e", "d", "p", "q", "dp", "dq", "qi"]);
  const key = await client.importKey(`js-rsa-${size}`, { kty: "RSA-HSM", ...members });
  for (const algorithm of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]) {
    const padding = algorithm.startsWith("PS")
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
      : { padding: constants.RSA_PKCS1_PADDING };
    await signatures(key, algorithm,
      (data) => crypto.sign(hashOf(algorithm), data, { key: privateKey, ...padding }),
      (data, made) => crypto.verify(hashOf(algorithm), data, { key: publicKey, ...padding }, made));
  }
  const raw = crypto.randomBytes(40);
  const made = (await cryptography(key.id).sign("RSNULL", raw)).result;
  equal(crypto.publicDecrypt(publicKey, Buffer.from(made)), raw, "RSNULL");
  await rsaEncryption(key, privateKey, publicKey);
}

async function rsaEncryption(key, privateKey, publicKey) {
  const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING };
  const schemes = {
    "RSA-OAEP-256": { ...oaep, oaepHash: "sha256" },
    "RSA-OAEP": { ...oaep, oaepHash: "sha1" },
    "RSA1_5": null,
  };
  for (const [algorithm, scheme] of Object.entries(schemes)) {
    const plaintext = crypto.randomBytes(32);
    const remote = cryptography(key.id);
    // The client encrypts the two older schemes itself; it always asks for the newer one.
    const asked = algorithm === "RSA-OAEP-256" ? 1 : 0;
    const sealed = await serverSees("KeyEncrypt", asked, async () =>
      Buffer.from((await remote.encrypt({ algorithm, plaintext })).result));
    const opened = await serverSees("KeyDecrypt", 1,
      () => remote.decrypt({ algorithm, ciphertext: sealed }));
    equal(Buffer.from(opened.result), plaintext, `${algorithm}: there and back`);
    if (scheme === null) continue;
    equal(crypto.privateDecrypt({ key: privateKey, ...scheme }, sealed), plaintext, algorithm);
    const foreign = crypto.publicEncrypt({ key: publicKey, ...scheme }, plaintext);
    const unwrapped = await serverSees("KeyUnwrap", 1, () => remote.unwrapKey(algorithm, foreign));
    equal(Buffer.from(unwrapped.result), plaintext, `${algorithm}: unwrap`);
    const wrapped = Buffer.from((await remote.wrapKey(algorithm, plaintext)).result);
    equal(crypto.privateDecrypt({ key: privateKey, ...scheme }, wrapped), plaintext, "wrap");
  }
}

async function ec(curve, named, algorithm) {
  const pair = crypto.generateKeyPairSync("ec", { namedCurve: named });
  const jwk = pair.privateKey.export({ format: "jwk" });
  const key = await client.importKey(`js-ec-${curve}`,
    { kty: "EC-HSM", crv: curve, ...bytes(jwk, ["x", "y", "d"]) });
  const flat = { dsaEncoding: "ieee-p1363" };
  for (let round = 0; round < 4; round += 1) {
    await signatures(key, algorithm,
      (data) => crypto.sign(hashOf(algorithm), data, { key: pair.privateKey, ...flat }),
      (data, made) =>
        crypto.verify(hashOf(algorithm), data, { key: pair.publicKey, ...flat }, made));
  }
}

async function oct(size) {
  const secret = crypto.randomBytes(size / 8);
  const key = await client.importKey(`js-oct-${size}`, { kty: "oct-HSM", k: secret });
  const remote = cryptography(key.id);
  await octGcm(size, secret, remote);
  await octCbc(size, secret, remote);
  await octWrap(size, secret, remote);
  for (const algorithm of ["HS256", "HS384", "HS512"]) {
    const data = crypto.randomBytes({ HS256: 32, HS384: 48, HS512: 64 }[algorithm]);
    const made = (await serverSees("KeySign", 1, () => remote.sign(algorithm, data))).result;
    const wanted = crypto.createHmac(hashOf(algorithm), secret).update(data).digest();
    equal(Buffer.from(made), wanted, algorithm);
    check((await remote.verify(algorithm, data, wanted)).result, `${algorithm}: verify`);
  }
}

async function octGcm(size, secret, remote) {
  const algorithm = `A${size}GCM`;
  const plaintext = crypto.randomBytes(50);
  const additionalAuthenticatedData = Buffer.from("told to both");
  const sealed = await serverSees("KeyEncrypt", 1,
    () => remote.encrypt({ algorithm, plaintext, additionalAuthenticatedData }));
  const opener = crypto.createDecipheriv(`aes-${size}-gcm`, secret, sealed.iv);
  opener.setAAD(additionalAuthenticatedData).setAuthTag(Buffer.from(sealed.authenticationTag));
  equal(Buffer.concat([opener.update(sealed.result), opener.final()]), plaintext, algorithm);
  const iv = crypto.randomBytes(12);
  const sealer = crypto.createCipheriv(`aes-${size}-gcm`, secret, iv);
  sealer.setAAD(additionalAuthenticatedData);
  const ciphertext = Buffer.concat([sealer.update(plaintext), sealer.final()]);
  const parameters = {
    algorithm, ciphertext, iv, additionalAuthenticatedData,
    authenticationTag: sealer.getAuthTag(),
  };
  const opened = await serverSees("KeyDecrypt", 1, () => remote.decrypt(parameters));
  equal(Buffer.from(opened.result), plaintext, `${algorithm}: decrypt`);
  await refused(400, "BadParameter", () => remote.decrypt({
    ...parameters, authenticationTag: crypto.randomBytes(16),
  }), `${algorithm}: a wrong tag`);
}

async function octCbc(size, secret, remote) {
  for (const [algorithm, padded, length] of [
    [`A${size}CBC`, false, 48], [`A${size}CBCPAD`, true, 21],
  ]) {
    const plaintext = crypto.randomBytes(length);
    const iv = crypto.randomBytes(16);
    const sealed = await serverSees("KeyEncrypt", 1,
      () => remote.encrypt({ algorithm, plaintext, iv }));
    const cipher = crypto.createCipheriv(`aes-${size}-cbc`, secret, iv).setAutoPadding(padded);
    const wanted = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    equal(Buffer.from(sealed.result), wanted, algorithm);
    const opened = await serverSees("KeyDecrypt", 1,
      () => remote.decrypt({ algorithm, ciphertext: wanted, iv }));
    equal(Buffer.from(opened.result), plaintext, `${algorithm}: decrypt`);
  }
}

async function octWrap(size, secret, remote) {
  for (const [algorithm, cipher, iv, length] of [
    [`A${size}KW`, `id-aes${size}-wrap`, "A6A6A6A6A6A6A6A6", 32],
    ["CKM_AES_KEY_WRAP", `id-aes${size}-wrap`, "A6A6A6A6A6A6A6A6", 24],
    ["CKM_AES_KEY_WRAP_PAD", `id-aes${size}-wrap-pad`, "A65959A6", 21],
  ]) {
    const plaintext = crypto.randomBytes(length);
    const wrapper = crypto.createCipheriv(cipher, secret, Buffer.from(iv, "hex"));
    const wanted = Buffer.concat([wrapper.update(plaintext), wrapper.final()]);
    const wrapped = await serverSees("KeyWrap", 1, () => remote.wrapKey(algorithm, plaintext));
    equal(Buffer.from(wrapped.result), wanted, algorithm);
    const opened = await serverSees("KeyUnwrap", 1, () => remote.unwrapKey(algorithm, wanted));
    equal(Buffer.from(opened.result), plaintext, `${algorithm}: unwrap`);
  }
}

for (const size of [2048, 3072, 4096]) await rsa(size);
await ec("P-256", "prime256v1", "ES256");
await ec("P-256K", "secp256k1", "ES256K");
await ec("P-384", "secp384r1", "ES384");
await ec("P-521", "secp521r1", "ES512");
for (const size of [128, 192, 256]) await oct(size);
finish("algorithms");
