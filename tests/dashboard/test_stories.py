"""What people come for, told in a browser: find what went wrong, understand it, act on it; with and without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow

Open = Callable[..., Page]


def test_a_compensated_order_is_found_and_the_page_says_why_and_in_which_order_it_was_undone(opened: Open) -> None:
    page = opened("instances")
    page.get_by_role("button", name="+ Status").click()
    page.get_by_role("button", name="Compensated", exact=True).click()
    expect(page.get_by_role("link", name="A-1001")).to_have_count(0)
    page.get_by_role("link", name="A-1002").click()
    why = page.locator(".why")
    expect(why).to_contain_text("Charge was rejected: the bank declined the card.")
    expect(why).to_contain_text("Reserve was undone.")
    expect(page.get_by_role("img", name=re.compile("reserve undone"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("charge: sent → rejected"))).to_be_visible()


def test_a_running_one_is_cancelled_after_reading_what_that_would_undo(opened: Open) -> None:
    page = opened("instances/parcel-return/whole-2")
    page.get_by_role("button", name="Cancel", exact=True).click()
    sheet = page.get_by_role("dialog")
    expect(sheet.locator("ol")).to_contain_text("receive by send-back")
    expect(sheet.locator("ul")).to_contain_text("photograph")
    sheet.get_by_label("Why").fill("the customer keeps it")
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_role("button", name="Cancel").click()
    expect(sheet.get_by_role("status")).to_contain_text("whole-2 is compensat")
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator(".why")).to_contain_text("It was cancelled by ann: the customer keeps it. Receive was undone.")
    expect(page.locator("table.history")).to_contain_text("cancel by ann: the customer keeps it")


def test_a_filtered_view_is_shared_by_its_address(opened: Open) -> None:
    page = opened("instances?status=attention&definition=parcel-return&columns=key,definition")
    expect(page.get_by_role("link", name="lost-1")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("thead th")).to_have_text(["Key", "Definition"])
    page.get_by_role("button", name="Remove Status: Attention").click()
    expect(page.locator("tbody tr").nth(3)).to_be_visible()
    assert page.url.endswith("#/instances?definition=parcel-return&columns=key%2Cdefinition")
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_everything_is_reached_with_the_keyboard_alone(opened: Open) -> None:
    page = opened("instances?status=completed")
    expect(page.get_by_role("link", name="A-1001")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next row")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("A-1003")
    page.keyboard.press("/")
    page.keyboard.type("parcel-return/lost-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("lost-1")
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.get_by_role("heading", level=1)).to_have_text("Instances")


def test_what_is_started_meanwhile_announces_itself_and_moves_nothing(opened: Open, shop: str) -> None:
    page = opened("instances?definition=label-printing")
    expect(page.locator("tbody tr")).to_have_count(1)
    answer = page.request.post(f"{shop}/v1/sagas/label-printing", data={"key": "L-2", "input": {"parcel": "x"}})
    assert answer.status == 201
    page.get_by_role("button", name="1 new: show it as it is now").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody tr").first).to_contain_text("L-2")


def test_an_act_that_is_not_possible_says_why(opened: Open) -> None:
    page = opened("instances/order-checkout/A-1001")
    page.get_by_role("button", name="More acts").click()
    cancel = page.get_by_role("button", name=re.compile("^Cancel"))
    expect(cancel).to_be_disabled()
    expect(cancel).to_contain_text("It is completed and can no longer change.")
