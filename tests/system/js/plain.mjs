// Nothing switched off: plain DefaultAzureCredential, the named URL, the resource check on.
//
// It uses nothing of the other scripts, so that what stands here is all that a user has to write.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import { DefaultAzureCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

const url = process.env.CASEMATE_HSM_NAMED_URL;
const credential = new DefaultAzureCredential();
const client = new KeyClient(url, credential);

const key = await client.createEcKey("plain-js-ec", { hsm: true });
assert.ok(key.id.startsWith(`${url}/keys/plain-js-ec/`), key.id);
const digest = createHash("sha256").update("text").digest();
const signer = new CryptographyClient(key, credential);
const { result } = await signer.sign("ES256", digest);
assert.ok((await signer.verify("ES256", digest, result)).result);

const wrapping = await client.createRsaKey("plain-js-rsa", { hsm: true, keySize: 2048 });
const wrapper = new CryptographyClient(wrapping, credential);
const wrapped = await wrapper.wrapKey("RSA-OAEP-256", Buffer.from("k".repeat(32)));
const unwrapped = await wrapper.unwrapKey("RSA-OAEP-256", wrapped.result);
assert.equal(Buffer.from(unwrapped.result).toString(), "k".repeat(32));

const names = [];
for await (const page of client.listPropertiesOfKeys().byPage({ maxPageSize: 1 })) {
  names.push(...page.map((one) => one.name));
}
assert.deepEqual(names.sort(), ["plain-js-ec", "plain-js-rsa"]);

await (await client.beginDeleteKey("plain-js-ec", { intervalInMs: 50 })).pollUntilDone();
await client.purgeDeletedKey("plain-js-ec");
console.log("plain: done");
