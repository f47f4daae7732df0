"""Lists: pages, links, versions and deleted keys, complete and without doubles."""

import urllib.parse

from support import API_VERSION, HSM_URL, Raw, check, equal, finish, key_client

client = key_client()
raw = Raw()
NAMES = [f"page-{number:03}" for number in range(57)]


def pages(path, size=None):
    """Follows nextLink as given, each page no longer than asked."""
    url, found = f"{path}?maxresults={size}" if size else path, []
    while url:
        # The server's own links carry no api-version and must work without one.
        version = None if url.startswith("https://") else API_VERSION
        answer = raw.call("GET", url, api_version=version)
        equal(answer.status_code, 200, f"{url}: {answer.text}")
        page = answer.json()
        check(len(page["value"]) <= (size or 25), f"a page of {len(page['value'])}")
        found.append(page["value"])
        url = page.get("nextLink")
        if url:
            check(url.startswith(f"{HSM_URL}{path}?"), f"nextLink stays where one came in: {url}")
    return found


def complete(path, wanted, sizes):
    for size in sizes:
        items = [item for page in pages(path, size) for item in page]
        kids = [item["kid"] for item in items]
        equal(len(kids), len(set(kids)), f"{path} by {size}: doubles")
        equal(sorted(kids), sorted(wanted), f"{path} by {size}")


def main():
    for name in NAMES:
        client.create_ec_key(name, hardware_protected=True, tags={"n": name})
    kids = [f"{HSM_URL}/keys/{name}" for name in NAMES]
    complete("/keys", kids, (None, 1, 7, 25))
    listed = {item.name: item for item in client.list_properties_of_keys()}
    equal(sorted(listed), NAMES, "the SDK's list")
    equal(listed[NAMES[3]].tags, {"n": NAMES[3]}, "an item has its tags")
    check(listed[NAMES[3]].version is None, "an item of the list names no version")
    paged = client.list_properties_of_keys(max_page_size=10).by_page()
    by_page = [len(list(page)) for page in paged]
    equal(sum(by_page), len(NAMES), "the SDK's pages")
    check(max(by_page) <= 10, f"the SDK's pages: {by_page}")

    versions = [client.create_ec_key(NAMES[0]).id for _ in range(29)]
    all_versions = [item.id for item in client.list_properties_of_key_versions(NAMES[0])]
    check(set(versions) < set(all_versions), "all versions are listed")
    complete(f"/keys/{NAMES[0]}/versions", all_versions, (None, 4, 25))
    equal(len(all_versions), 30, "versions")

    for name in NAMES[:31]:
        client.begin_delete_key(name)
    complete("/deletedkeys", kids[:31], (None, 6, 25))
    complete("/keys", kids[31:], (None, 9))
    for item in client.list_deleted_keys():
        check(item.recovery_id and item.deleted_date and item.scheduled_purge_date,
              "a deleted item tells when and how")

    for path in ("/keys", "/deletedkeys", f"/keys/{NAMES[40]}/versions"):
        for size in ("0", "26", "-1", "many", "1e9", "2.5"):
            raw.refused(400, "BadParameter", "GET", f"{path}?maxresults={size}")
    broken_links()
    finish("paging")


def broken_links():
    link = raw.ok("GET", "/keys?maxresults=3")["nextLink"]
    parts = urllib.parse.urlsplit(link)
    query = dict(urllib.parse.parse_qsl(parts.query))
    token = query["$skiptoken"]
    for forged in ("", "nonsense", token[:-2], token + "AA", "%00", "A" * 5000):
        query["$skiptoken"] = forged
        url = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))
        answer = raw.call("GET", url)
        check(answer.status_code in (200, 400), f"{forged[:20]}: {answer.status_code}")
    # The JavaScript client encodes names of parameters, too.
    encoded = link.replace("$skiptoken", "%24skiptoken")
    equal(raw.call("GET", encoded).json()["value"], raw.call("GET", link).json()["value"],
          "an encoded name of a parameter")


main()
