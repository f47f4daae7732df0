// Each type and size from creation to purge through the JavaScript SDK, and its refusals.

import { createHash } from "node:crypto";

import {
  check, client, cryptography, equal, finish, poll, refused, serverSees, url,
} from "./support.mjs";

const digest = createHash("sha256").update("what is signed").digest();
const kinds = [
  ...[2048, 3072, 4096].map((keySize) => ["RSA", { keySize }, "RS256"]),
  ["EC", { curve: "P-256" }, "ES256"],
  ["EC", { curve: "P-256K" }, "ES256K"],
  ["EC", { curve: "P-384" }, "ES384"],
  ["EC", { curve: "P-521" }, "ES512"],
  ...[128, 192, 256].map((keySize) => ["oct", { keySize }, "HS256"]),
];
const lengths = { ES384: "sha384", ES512: "sha512" };

function create(kind, name, options) {
  const hsm = { ...options, hsm: true };
  if (kind === "RSA") return client.createRsaKey(name, hsm);
  if (kind === "EC") return client.createEcKey(name, hsm);
  return client.createOctKey(name, hsm);
}

async function lifeOf([kind, options, algorithm]) {
  const name = `js-${kind}-${options.keySize ?? options.curve}`;
  const data = createHash(lengths[algorithm] ?? "sha256").update("signed").digest();
  const tags = { room: "one" };
  const first = await serverSees("KeyCreate", 1, () => create(kind, name, { ...options, tags }));
  equal(first.keyType, `${kind}-HSM`, "type");
  check(first.id.startsWith(`${url}/keys/${name}/`), first.id);
  equal(first.properties.tags, { room: "one" }, "tags");
  equal(first.properties.recoveryLevel, "Recoverable+Purgeable", "recovery level");
  for (const member of ["d", "p", "q", "dp", "dq", "qi", "k"]) {
    equal(first.key[member], undefined, `${member} is never returned`);
  }
  const { result } = await serverSees("KeySign", 1,
    () => cryptography(first).sign(algorithm, data));
  const shows = async (version) => {
    const verified = await serverSees("KeyVerify", 1,
      () => cryptography(version).verify(algorithm, data, result));
    return verified.result;
  };
  const second = await create(kind, name, options);
  check(second.id !== first.id, "creating again makes a new version");
  equal((await client.getKey(name)).id, second.id, "the newest version");
  check(await shows(first.id), "the old version still works");
  check(!(await shows(second.id)), "each version has its own material");
  const versions = [];
  for await (const one of client.listPropertiesOfKeyVersions(name)) versions.push(one.version);
  equal(versions.sort(), [first, second].map((key) => key.properties.version).sort(), "versions");
  await deletion(name, first, second, shows);
}

async function deletion(name, first, second, shows) {
  const deleted = await serverSees("KeyDelete", 1,
    async () => (await client.beginDeleteKey(name, poll)).pollUntilDone());
  equal(deleted.properties.recoveryId, `${url}/deletedkeys/${name}`, "recovery id");
  await refused(404, "KeyNotFound", () => client.getKey(name), "a deleted key");
  await refused(409, "Conflict", () => client.createRsaKey(name), "a taken name");
  await (await client.beginRecoverDeletedKey(name, poll)).pollUntilDone();
  equal((await client.getKey(name)).id, second.id, "recovered");
  check(await shows(first.id), "works when recovered");
  await (await client.beginDeleteKey(name, poll)).pollUntilDone();
  await serverSees("KeyPurge", 1, () => client.purgeDeletedKey(name));
  await refused(404, "KeyNotFound", () => client.getDeletedKey(name), "a purged key");
}

async function attributesAndRefusals() {
  await client.createEcKey("js-attributes", { hsm: true, enabled: false });
  const id = (await client.getKey("js-attributes")).id;
  await refused(403, "Forbidden", () => cryptography(id).sign("ES256", digest), "disabled");
  await client.updateKeyProperties("js-attributes", { enabled: true, tags: { a: "b" } });
  await cryptography(id).sign("ES256", digest);
  // A client that knows the key looks at its dates itself; this one knew it before they came.
  const knowing = cryptography(await client.getKey("js-attributes"));
  await client.updateKeyProperties("js-attributes", { expiresOn: new Date(Date.now() - 60000) });
  await refused(403, "Forbidden", () => knowing.sign("ES256", digest), "expired");
  await client.updateKeyProperties("js-attributes", {
    expiresOn: new Date(Date.now() + 7200000), notBefore: new Date(Date.now() + 3600000),
  });
  await refused(403, "Forbidden", () => knowing.sign("ES256", digest), "too early");
  await client.updateKeyProperties("js-attributes", {
    expiresOn: new Date(Date.now() + 7200000), notBefore: new Date(Date.now() - 3600000),
  });
  await refused(400, "BadParameter",
    () => cryptography(id).sign("ES256", digest.subarray(1)), "digest length");
  await client.createRsaKey("js-ops", { hsm: true });
  const unaware = cryptography(await client.getKey("js-ops"));
  await client.updateKeyProperties("js-ops", { keyOps: ["verify"] });
  await refused(403, "Forbidden", () => unaware.sign("RS256", digest), "key_ops");
  await refused(400, "BadParameter",
    () => client.createRsaKey("js-bad", { keySize: 1000 }), "key size");
  await refused(404, "KeyNotFound", () => client.getKey("js-none"), "an unknown key");
  await refused(404, "KeyNotFound", () => client.purgeDeletedKey("js-ops"), "not deleted");
  const random = await client.getRandomBytes?.(32);
  if (random !== undefined) equal((random.bytes ?? random).length, 32, "random bytes");
}

async function paging() {
  const names = Array.from({ length: 12 }, (_, number) => `js-page-${number}`);
  for (const name of names) await client.createEcKey(name, { hsm: true });
  const listed = [];
  let pages = 0;
  for await (const page of client.listPropertiesOfKeys().byPage({ maxPageSize: 5 })) {
    check(page.length <= 5, `a page of ${page.length}`);
    listed.push(...page.map((one) => one.name));
    pages += 1;
  }
  check(pages >= 3, `${pages} pages`);
  for (const name of names) check(listed.includes(name), `${name} is listed`);
  equal(new Set(listed).size, listed.length, "no doubles");
}

for (const kind of kinds) await lifeOf(kind);
await attributesAndRefusals();
await paging();
finish("lifecycle");
