// What the scripts share: the clients of the running HSM, the audit log and counted checks.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { DefaultAzureCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

export const url = process.env.CASEMATE_HSM_URL;
const options = { disableChallengeResourceVerification: true };
export const credential = new DefaultAzureCredential();
export const client = new KeyClient(url, credential, options);
export const poll = { intervalInMs: 50 };

let checks = 0;

export function check(holds, message) {
  checks += 1;
  assert.ok(holds, message);
}

export function equal(got, wanted, message) {
  checks += 1;
  assert.deepEqual(got, wanted, message);
}

/** The act must fail at the server with this status and error code. */
export async function refused(status, code, act, message) {
  try {
    await act();
  } catch (error) {
    equal([error.statusCode, error.code], [status, code], `${message}: ${error.message}`);
    return;
  }
  assert.fail(`${message}: it was allowed`);
}

export function cryptography(key) {
  return new CryptographyClient(key, credential, options);
}

export function finish(name) {
  check(checks > 10, "a script must check something");
  console.log(`${name}: ${checks} checks`);
}

/** How many calls of an operation the server has recorded as ended. */
export function audited(operation) {
  let count = 0;
  const waiting = [process.env.TEST_DATA_DIR];
  while (waiting.length > 0) {
    const folder = waiting.pop();
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) waiting.push(path);
      if (/^audit-\d+\.jsonl$/.test(entry.name)) {
        const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
        const records = lines.filter(Boolean).map((line) => JSON.parse(line));
        // A change has its intent recorded besides its end.
        count += records.filter((record) =>
          record.operationName === operation && record.phase !== "intent").length;
      }
    }
  }
  return count;
}

/** The server must write exactly so many records of the operation while the act runs. */
export async function serverSees(operation, times, act) {
  const before = audited(operation);
  const result = await act();
  equal(audited(operation) - before, times, `${operation}: records that the server wrote`);
  return result;
}
