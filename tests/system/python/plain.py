"""Nothing switched off: plain DefaultAzureCredential, the named URL, the resource check on.

It uses nothing of the other scripts, so that what stands here is all that a user has to write.
"""

import os

from azure.identity import DefaultAzureCredential
from azure.keyvault.administration import KeyVaultAccessControlClient, KeyVaultRoleScope
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import (
    CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm)

url = os.environ["CASEMATE_HSM_NAMED_URL"]
credential = DefaultAzureCredential()
client = KeyClient(url, credential)

signing = client.create_ec_key("plain-ec", hardware_protected=True)
assert signing.id.startswith(url + "/keys/plain-ec/"), signing.id
crypto = CryptographyClient(signing, credential)
signature = crypto.sign(SignatureAlgorithm.es256, bytes(32)).signature
assert crypto.verify(SignatureAlgorithm.es256, bytes(32), signature).is_valid

wrapping = client.create_rsa_key("plain-rsa", size=2048, hardware_protected=True)
crypto = CryptographyClient(wrapping, credential)
wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"k" * 32).encrypted_key
assert crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped).key == b"k" * 32

sealing = client.create_oct_key("plain-oct", size=256, hardware_protected=True)
crypto = CryptographyClient(sealing, credential)
sealed = crypto.encrypt(EncryptionAlgorithm.a256_gcm, b"text")
assert crypto.decrypt(sealed.algorithm, sealed.ciphertext, iv=sealed.iv,
                      authentication_tag=sealed.tag).plaintext == b"text"

assert {key.name for key in client.list_properties_of_keys(max_page_size=1)} == {
    "plain-ec", "plain-rsa", "plain-oct"}

access = KeyVaultAccessControlClient(url, credential)
assert len(list(access.list_role_assignments(KeyVaultRoleScope.GLOBAL))) >= 3

client.begin_delete_key("plain-ec").wait()
client.begin_recover_deleted_key("plain-ec").wait()
client.begin_delete_key("plain-ec").wait()
client.purge_deleted_key("plain-ec")
print("plain: done")
