"""An HSM with purge protection and seven days of retention."""

from support import equal, finish, key_client, refused

client = key_client()

key = client.create_ec_key("kept")
equal(key.properties.recovery_level, "CustomizedRecoverable", "recovery level")
equal(key.properties.recoverable_days, 7, "retention")
client.begin_delete_key("kept").wait()
deleted = client.get_deleted_key("kept")
equal((deleted.scheduled_purge_date - deleted.deleted_date).days, 7, "purge date")
refused(403, "Forbidden", lambda: client.purge_deleted_key("kept"), "purge under protection")
client.begin_recover_deleted_key("kept").wait()
equal(client.get_key("kept").id, key.id, "recovered after the refused purge")
finish("protected")
