"""What an operator works with: children, views, selected instances, forms of acts, schedules, limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow

Open = Callable[..., Page]


def test_a_child_is_opened_in_the_page_of_its_parent(opened: Open) -> None:
    page = opened("instances/gift/G-1")
    child = page.locator("details", has_text="wrap")
    expect(child).to_contain_text("Completed")
    child.locator("summary").click()
    expect(child.locator(".lane").first).to_contain_text("weigh_wrapped")
    child.get_by_role("link", name="All of it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("gift/G-1/wrap")


def test_a_view_is_kept_in_the_browser_and_removed_again(opened: Open) -> None:
    page = opened("instances?status=completed&definition=order-checkout&columns=key,definition")
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Keep this view as").fill("orders that went well")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.goto(page.url.split("#")[0] + "#/instances")
    page.reload()
    expect(page.locator("tbody tr").nth(4)).to_be_visible()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="orders that went well", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("thead th").last).to_have_text("Definition")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Remove the view orders that went well").click()
    expect(page.get_by_role("button", name="orders that went well", exact=True)).to_have_count(0)


def test_selected_instances_are_acted_on_and_no_others(opened: Open) -> None:
    page = opened("instances?definition=order-checkout&sort=key")
    expect(page.get_by_role("link", name="A-1001")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.get_by_label("Select order-checkout/A-1003").check()
    page.get_by_text("2 instances selected").wait_for()
    page.get_by_role("button", name="Act on these").click()
    page.get_by_role("button", name="Pause No more").click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("2 instances: 2 denied.")
    expect(sheet).to_contain_text("order-checkout/A-1001")
    expect(sheet).to_contain_text("order-checkout/A-1003")


def test_a_step_is_skipped_by_the_form_of_its_reply(opened: Open) -> None:
    page = opened("instances/parcel-return/slow-1?act=skip")
    sheet = page.get_by_role("dialog")
    expect(sheet.get_by_label("Note")).to_be_visible()
    sheet.get_by_label("Note").fill("2 kg, by hand")
    expect(sheet.get_by_text("What it would do now")).to_be_visible()


def test_a_schedule_is_backfilled_and_deleted(opened: Open, shop: str) -> None:
    body = {"definition": "label-printing", "input": {"parcel": "x"}, "cron": "0 3 1 1 *"}
    page = opened("log")
    made = page.request.put(f"{shop}/v1/schedules/yearly", data=body)
    assert made.ok, made.text()
    page.goto(page.url.replace("log", "schedules?case=yearly"))
    page.get_by_role("button", name="Backfill").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("From").fill("2020-06-01T00:00:00")
    sheet.get_by_label("Until").fill("2020-07-01T00:00:00")
    sheet.get_by_role("button", name="Backfill").click()
    expect(sheet.get_by_role("status")).to_contain_text("Done.")
    sheet.get_by_role("button", name="Back").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    sheet.get_by_label("Why").fill("no labels by the year")
    sheet.get_by_role("button", name="Delete yearly").click()
    expect(sheet.get_by_role("status")).to_contain_text("Done.")
    sheet.get_by_role("button", name="Back").click()
    expect(page.get_by_role("navigation", name="Schedules")).not_to_contain_text("yearly")


def test_a_limit_is_set_in_the_page_of_the_queues(opened: Open) -> None:
    page = opened("queues")
    page.get_by_role("button", name="Change the limits").click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("Nothing is changed yet.")
    sheet.get_by_role("button", name="Add a limit").click()
    sheet.get_by_label("Name", exact=True).fill("bank")
    sheet.get_by_label("Limit", exact=True).fill("8 at once")
    expect(sheet.locator("ins")).to_contain_text('"to":"8 at once"')
    sheet.get_by_label("Why").fill("the bank asks for it")
    sheet.get_by_role("button", name="Set version 1").click()
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator("tbody tr", has_text="bank").first).to_contain_text("8 at once")


def test_a_parked_key_shows_what_waits_is_edited_and_redriven(opened: Open) -> None:
    page = opened("parked")
    expect(page.locator("main .why")).to_contain_text("the address of the bill is missing It failed 3 times")
    expect(page.get_by_role("heading", name="Message 2")).to_be_visible()
    expect(page.get_by_role("navigation", name="Parked keys")).to_contain_text("reminder-1")
    page.get_by_role("button", name="Edit", exact=True).first.click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Value").fill('{"order": "A-17", "street": "Elm 3"}')
    sheet.get_by_label("Why").fill("the customer has told the address")
    sheet.get_by_role("button", name="Keep this value").click()
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator("main pre.json").first).to_contain_text('"street": "Elm 3"')
    page.get_by_role("button", name="Redrive").click()
    sheet.get_by_role("button", name="Redrive").click()
    expect(sheet.get_by_role("status")).to_contain_text("Done.")


def test_a_delayed_message_is_edited_and_given_another_time(opened: Open, shop: str) -> None:
    page = opened("parked?case=%2Fv1%2Fdelayed%2Freminder-1")
    expect(page.locator("main .why")).to_contain_text("It is sent")
    page.get_by_role("button", name="Edit", exact=True).click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("Nothing is changed yet.")
    sheet.get_by_label("Value").fill('{"to": "bob"}')
    expect(sheet.locator("ins")).to_contain_text("bob")
    sheet.get_by_label("Why").fill("ann has moved")
    sheet.get_by_role("button", name="Keep this value").click()
    expect(sheet.get_by_role("status")).to_contain_text("It is edited.")
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator("main pre.json")).to_contain_text('"to": "bob"')
    page.get_by_role("button", name="Give it another time").click()
    sheet.get_by_label("When").fill("2099-06-01T00:00:00")
    sheet.get_by_role("button", name="Give it another time").click()
    expect(sheet.get_by_role("status")).to_contain_text("Done.")
    content = page.request.get(f"{shop}/v1/delayed/reminder-1").json()
    assert (content["content"]["value"]["text"], content["due_at"][:7]) in {
        ('{"to": "bob"}', f"2099-{n}") for n in ("05", "06")
    }


def test_a_raw_record_leads_to_its_instance(opened: Open) -> None:
    page = opened("log")
    page.get_by_role("link", name="Raw records").click()
    page.get_by_label("Topic").select_option("shop.state")
    page.get_by_label("Latest of each key").check()
    for partition in ("1", "0"):
        page.get_by_label("Partition").select_option(partition)
        expect(page.locator("tbody tr").first).to_be_visible()
    page.get_by_label("Key", exact=True).fill("order-checkout/A-1001")
    page.get_by_label("Key", exact=True).press("Enter")
    page.get_by_label("Partition").select_option("0")
    if page.get_by_text("No record is here").count():
        page.get_by_label("Partition").select_option("1")
    page.locator("tbody details").first.locator("summary").click()
    expect(page.locator("tbody pre").first).to_contain_text('"definition": "order-checkout"')
    page.get_by_role("link", name="order-checkout/A-1001").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A-1001")
