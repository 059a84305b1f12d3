"""What people come for, told in a browser: find what went wrong, understand it, act on it; with and without a mouse.

A story changes only instances that no other test looks at: tests share one shop, in any order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from .shop import TOKEN, Shop

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
    page = opened("instances/parcel-return/whole-5")
    page.get_by_role("button", name="Cancel", exact=True).click()
    sheet = page.get_by_role("dialog")
    expect(sheet.locator("ol")).to_contain_text("receive by send-back")
    expect(sheet.locator("ul")).to_contain_text("photograph")
    sheet.get_by_label("Why").fill("the customer keeps it")
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_role("button", name="Cancel").click()
    expect(sheet.get_by_role("status")).to_contain_text("whole-5 is compensat")
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator(".why")).to_contain_text("It was cancelled by ann: the customer keeps it. Receive was undone.")
    expect(page.locator("table.history")).to_contain_text("cancel by ann: the customer keeps it")


def test_a_filtered_view_is_shared_by_its_address(opened: Open) -> None:
    page = opened("instances?status=completed&definition=order-checkout&columns=key,definition")
    expect(page.get_by_role("link", name="A-1001")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("thead th")).to_have_text(["Selected", "Key", "Definition"])
    page.get_by_role("button", name="Remove Status: Completed").click()
    expect(page.locator("tbody tr").nth(3)).to_be_visible()
    assert page.url.endswith("#/instances?definition=order-checkout&columns=key%2Cdefinition")
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_everything_is_reached_with_the_keyboard_alone(opened: Open) -> None:
    page = opened("instances?status=completed&definition=order-checkout")
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


def test_the_hours_of_overview_are_told_in_words_and_lead_to_their_instances(opened: Open) -> None:
    """One tab stop for all bars; the arrows go from bar to bar; Enter shows the instances of the hour."""
    page = opened("overview")
    bars = page.get_by_role("group", name="Hours").get_by_role("link")
    expect(bars).to_have_count(24)
    filled = page.locator(".hours a:has(i)").last
    said = filled.get_attribute("aria-label") or ""
    found = re.fullmatch(r"\d\d:\d\d to \d\d:\d\d: (\d+) started, (\d+ [a-z ]+(?:, \d+ [a-z ]+)*)", said)
    assert found, said
    assert sum(int(each.split()[0]) for each in found[2].split(", ")) == int(found[1])
    filled.focus()
    page.keyboard.press("ArrowLeft")
    here = page.locator(".hours a:focus")
    expect(page.locator(".hours p")).to_have_text(here.get_attribute("aria-label") or "")
    expect(here).not_to_have_attribute("aria-label", said)
    expect(page.locator(".hours a[tabindex='0']")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Started since")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(int(found[1]))


def test_hours_without_a_start_are_said(opened: Open) -> None:
    """And they are not read with each event, as the other figures are."""
    page, read = opened("instances"), list[str]()

    def nothing(route: Route) -> None:
        read.append(route.request.url)
        answer = route.fetch().json()
        none = [each | {"started": 0, "statuses": dict.fromkeys(each["statuses"], 0)} for each in answer["hours"]]
        route.fulfill(json={"hours": none})

    page.route("**/v1/instances/rates*", nothing)
    page.evaluate("location.hash = '#/overview'")
    expect(page.get_by_text("No instance has started.")).to_be_visible()
    for _ in range(2):
        with page.expect_response("**/v1/instances/count?status=running"):
            pass
    assert len(read) == 1


def test_an_act_that_is_not_possible_says_why(opened: Open) -> None:
    page = opened("instances/order-checkout/A-1001")
    page.get_by_role("button", name="More acts").click()
    cancel = page.get_by_role("button", name=re.compile("^Cancel"))
    expect(cancel).to_be_disabled()
    expect(cancel).to_contain_text("It is completed and can no longer change.")


def test_a_failed_undo_is_worked_in_attention_to_its_end(opened: Open) -> None:
    page = opened("overview")
    page.get_by_role("link", name=re.compile("instances? in attention")).click()
    page.get_by_role("button", name="lost-2").click()
    expect(page.locator("main .why")).to_contain_text("Undoing receive failed")
    expect(page.locator("main")).to_contain_text("receive undo failed its undo is send-back")
    page.get_by_role("button", name="Accept the loss").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_role("button", name="Accept the loss").click()
    expect(sheet.get_by_label("Why")).to_be_focused()  # the browser asks for the reason first
    sheet.get_by_label("Why").fill("the parcel was paid for")
    sheet.get_by_role("button", name="Accept the loss").click()
    expect(sheet.get_by_role("status")).to_contain_text("lost-2 is compensated")
    sheet.get_by_role("button", name="Back").click()
    expect(page.get_by_role("button", name="lost-2")).to_have_count(0)
    expect(page.get_by_role("button", name="lost-1")).to_be_visible()
    expect(page.locator("main .stale")).to_contain_text("It is no longer in this list.")
    expect(page.locator("main")).to_contain_text("history and state of lost-2")


def test_what_is_worked_on_stays_when_another_case_comes_before_it(opened: Open, shop: str) -> None:
    page = opened("attention")
    page.get_by_role("button", name="Accept the loss").click()
    reason = page.get_by_role("dialog").get_by_label("Why")
    reason.fill("half a rea")
    answer = page.request.post(f"{shop}/v1/sagas/parcel-return", data={"key": "lost-9", "input": {"parcel": "lost-9"}})
    assert answer.status in (201, 202)
    expect(page.get_by_label("Instances in attention").locator("b").first).to_have_text("lost-9")
    expect(reason).to_have_value("half a rea")


def test_an_act_whose_answer_was_lost_is_sent_again_as_the_same(opened: Open) -> None:
    sent: list[str] = []

    def answer(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or "")["request_id"])
        if len(sent) == 1:
            route.abort("internetdisconnected")
        else:
            route.fulfill(status=404, json={"detail": f"refused {len(sent)}"})

    page = opened("instances/parcel-return/whole-1?act=pause")
    page.route("**/pause", answer)
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_label("Why").fill("the scale is broken")
    expect(sheet).to_contain_text("What it would do now")  # what comes after it moves the button
    for told in ("does not answer", "refused 2", "refused 3"):
        sheet.get_by_role("button", name="Pause").click()
        expect(sheet.get_by_role("alert")).to_contain_text(told)
    lost, again, other = sent
    assert lost == again != other


def test_a_question_is_answered_by_its_form(opened: Open) -> None:
    page = opened("questions?case=parcel-return%2Fwhole-4+decide")
    page.get_by_label("Accept").check()
    page.get_by_label("Cents").fill("990")
    page.get_by_role("button", name="Answer…").click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text('"cents": 990')
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_role("button", name="Send the answer").click()
    expect(sheet.get_by_role("status")).to_contain_text("The answer is taken.")
    sheet.get_by_role("button", name="Back").click()
    page.goto(page.url.split("#")[0] + "#/instances/parcel-return/whole-4")
    expect(page.locator(".why")).to_contain_text("Every step is done")


def test_a_poison_message_is_edited_and_redriven(opened: Open) -> None:
    page = opened("dead")
    page.get_by_role("link", name="0-1").click()
    expect(page.locator(".why")).to_contain_text("parcel: not a text: 1")
    page.get_by_role("button", name="Edit").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Value").fill('{"parcel": "L-9"}')
    expect(sheet.locator("ins")).to_contain_text('"parcel": "L-9"')
    sheet.get_by_label("Why").fill("a number where a text must be")
    sheet.get_by_role("button", name="Keep this value").click()
    sheet.get_by_role("button", name="Back").click()
    page.get_by_role("button", name="Redrive").click()
    sheet.get_by_role("button", name="Redrive").click()
    expect(sheet.get_by_role("status")).to_contain_text("It is redriven.")
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator(".why")).to_contain_text("It was redriven")
    expect(page.locator("main")).to_contain_text("edit")


def test_what_somebody_else_does_is_seen_at_once(opened: Open, shop: str) -> None:
    page = opened("instances/parcel-return/whole-3")
    expect(page.locator(".why")).to_contain_text("It is paused.")
    answer = page.request.post(f"{shop}/v1/instances/parcel-return/whole-3/resume", data={"by": "bob"})
    assert answer.status == 200
    expect(page.locator(".why")).not_to_contain_text("It is paused.")
    expect(page.locator("table.history")).to_contain_text("resume by bob")


def test_a_flow_of_200_nodes_is_drawn_whole(opened: Open) -> None:
    page = opened("definitions?case=long-way")
    expect(page.locator("svg.graph .node .title")).to_have_count(200)
    expect(page.get_by_role("button", name="Start one")).to_be_enabled()


def test_an_instance_is_started_by_the_form_of_its_definition(opened: Open) -> None:
    page = opened("definitions?case=parcel-return")
    page.get_by_role("button", name="Start one").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Key").fill("torn-2")
    sheet.get_by_label("Parcel").fill("torn-2")
    sheet.get_by_role("button", name="Start").click()
    sheet.get_by_role("link", name="torn-2").click()
    expect(page.locator(".why")).to_contain_text("Photograph was rejected: the box is torn")


def test_many_are_acted_on_by_a_plan(opened: Open) -> None:
    page = opened("instances?key=slow-1")
    page.get_by_role("button", name="Act on all of these").click()
    page.get_by_role("button", name=re.compile("^Pause")).click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("1 instance: 1 done.")
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_label("Why").fill("the scale is broken")
    sheet.get_by_role("button", name="Pause all of these").click()
    expect(sheet.get_by_role("status").last).to_contain_text("1 done.")
    sheet.get_by_role("button", name="Back").click()
    expect(page.locator("tbody tr")).to_contain_text("Paused")


def test_a_lost_connection_is_told_and_the_page_goes_on_by_itself(opened: Open) -> None:
    page = opened("instances/parcel-return/whole-1")
    expect(page.locator(".why")).to_contain_text("waits for the answer of a person")
    page.context.set_offline(True)
    expect(page.locator(".stale").first).to_contain_text("The API does not answer")
    expect(page.locator("nav.rail")).to_contain_text("No answer for")
    expect(page.locator(".why")).to_contain_text("waits for the answer of a person")
    page.context.set_offline(False)
    expect(page.locator("nav.rail")).to_contain_text("Live")
    expect(page.locator(".stale")).to_have_count(0)


@pytest.mark.long
def test_a_read_that_hangs_counts_as_no_answer(opened: Open) -> None:
    page = opened("tables")
    expect(page.get_by_role("navigation", name="Tables")).to_be_visible()
    page.route("**/v1/tables", lambda route: None)
    expect(page.locator("main .stale").first).to_contain_text("The API does not answer")


def test_the_focus_comes_back_to_the_menu_and_goes_to_the_way_back(opened: Open) -> None:
    page = opened("instances/parcel-return/whole-1")
    page.route("**/edit", lambda route: route.fulfill(json={"changed": True, "status": "running", "revision": 2}))
    page.get_by_role("button", name="More acts").click()
    page.get_by_role("button", name=re.compile("^Edit the state")).click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("Nothing is changed yet.")
    sheet.get_by_label("Weight").fill("7")
    expect(sheet.locator("ins")).to_contain_text("/weight: 7")
    sheet.get_by_label("Your name").fill("ann")
    sheet.get_by_label("Why").fill("weighed by hand")
    expect(sheet).to_contain_text("What it would do now")  # what comes after it moves the button
    sheet.get_by_role("button", name="Edit the state").click()
    expect(sheet.get_by_role("button", name="Back")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="More acts")).to_be_focused()


def test_a_viewer_signs_in_and_can_do_nothing(opened: Open, served: Shop) -> None:
    page = opened("instances/parcel-return/whole-1", locked=True)
    page.get_by_label("Key").fill("a-key-that-nobody-has")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    admin = {"Authorization": f"Bearer {TOKEN}"}
    made = page.request.post(f"{served.locked}/v1/keys", data={"name": "vera", "role": "viewer"}, headers=admin)
    assert made.status == 201, made.text()
    page.get_by_label("Key").fill(made.json()["secret"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("header.top")).to_contain_text("vera, viewer")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_have_attribute("title", "Needs the role operator.")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_who_acts_is_who_has_signed_in(opened: Open) -> None:
    page = opened("instances/parcel-return/slow-1", locked=True)
    page.get_by_label("Key").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="More acts").click()
    page.get_by_role("button", name=re.compile("^Edit the state")).click()
    sheet = page.get_by_role("dialog")
    expect(sheet.get_by_label("Your name")).to_have_count(0)
    sheet.get_by_label("Weight").fill("7")
    sheet.get_by_label("Why").fill("weighed by hand")
    expect(sheet).to_contain_text("What it would do now")  # what comes after it moves the button
    sheet.get_by_role("button", name="Edit the state").click()
    expect(sheet.get_by_role("status").last).to_contain_text("Done")


def test_a_definition_says_what_was_verified_and_a_run_to_each_finding(opened: Open) -> None:
    page = opened("definitions?case=parcel-return")
    panel = page.locator("section", has=page.get_by_role("heading", name="Verified"))
    expect(panel).to_contain_text("2 findings")
    expect(panel).to_contain_text("no-undo")
    panel.get_by_text("A run to it").first.click()
    expect(panel.locator("ol").first).to_contain_text("start")
    page.get_by_role("navigation", name="Definitions").get_by_text("order-checkout").click()
    expect(panel).to_contain_text("It holds.")
