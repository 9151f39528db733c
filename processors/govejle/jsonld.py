"""Facts from schema.org events in JSON-LD: `@graph`, lists, references, type lists, subtypes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from processors.govejle.event import Facts, Status, bare_title, slug
from processors.govejle.local_time import Local, day_of, is_timed, parse_iso
from processors.govejle.page import Page, clean, web_url

Node = Mapping[str, Any]
NODES_MAX = 10_000
EVENT_TYPES = {  # schema.org's Event and its subtypes, and our category for each
    "Event": None,
    "BusinessEvent": "erhverv",
    "ChildrensEvent": "børn",
    "ComedyEvent": "comedy",
    "ConferenceEvent": "konference",
    "CourseInstance": "kursus",
    "DanceEvent": "dans",
    "DeliveryEvent": None,
    "EducationEvent": "foredrag",
    "EventSeries": None,
    "ExhibitionEvent": "udstilling",
    "Festival": "festival",
    "FoodEvent": "mad",
    "Hackathon": "teknologi",
    "LiteraryEvent": "litteratur",
    "MusicEvent": "musik",
    "PerformingArtsEvent": "scenekunst",
    "PublicationEvent": None,
    "SaleEvent": "marked",
    "ScreeningEvent": "film",
    "SocialEvent": "socialt",
    "SportsEvent": "sport",
    "TheaterEvent": "teater",
    "UserInteraction": None,
    "VisualArtsEvent": "kunst",
}
STATUSES = {
    "eventscheduled": Status.SCHEDULED,
    "eventcancelled": Status.CANCELLED,
    "eventcanceled": Status.CANCELLED,
    "eventrescheduled": Status.RESCHEDULED,
    "eventpostponed": Status.POSTPONED,
    "eventmovedonline": Status.MOVED_ONLINE,
}
AMOUNT = re.compile(
    r"(?:kr\.?|dkk)?\s*(\d+(?:[.,]\d{1,2})?|\d{1,3}(?:\.\d{3})+)\s*(?:,-|kr\.?|dkk)?", re.I
)
TAG = re.compile(r"<[^>]{0,1000}>")


def facts_from_jsonld(page: Page) -> tuple[Facts, list[str]]:
    """What the page's JSON-LD says of its event, and what is doubtful about it."""
    nodes = list(walk(page.documents))
    by_id = {
        node["@id"]: node for node in nodes if isinstance(node.get("@id"), str) and len(node) > 1
    }
    events = [node for node in nodes if types_of(node) & EVENT_TYPES.keys()]
    if not events:
        return Facts(), []
    event, warnings = the_event(events, page)
    reader = Reader(by_id, page.url)
    facts = reader.facts(event)
    return facts, warnings + reader.warnings


def walk(documents: Sequence[Any]) -> Iterator[Node]:
    """Every object of the documents, outer ones first; at most 10,000 values are looked at."""
    pending = list(reversed(documents))
    for _ in range(NODES_MAX):
        if not pending:
            return
        value = pending.pop()
        if isinstance(value, Mapping):
            yield value
            pending.extend(reversed(list(value.values())))
        elif isinstance(value, list):
            pending.extend(reversed(value))


def types_of(node: Node) -> set[str]:
    """The node's types without their namespace."""
    return {re.split(r"[/#:]", str(one))[-1] for one in as_list(node.get("@type"))}


def the_event(events: Sequence[Node], page: Page) -> tuple[Node, list[str]]:
    """The event that the page is about: by URL, else by its heading, else the first."""
    if len(events) == 1:
        return events[0], []
    here = {page.url.rstrip("/"), page.canonical_url.rstrip("/")}
    by_url = [event for event in events if str(event.get("url", "")).rstrip("/") in here]
    heading = slug(bare_title(page.heading))
    by_name = [
        event for event in events if slug(bare_title(text_of(event.get("name")) or "")) == heading
    ]
    for found in (by_url, by_name):
        if len(found) == 1:
            return found[0], []
    return events[0], [f"the page holds {len(events)} events, the first was taken"]


class Reader:
    """Reads one event; keeps what is doubtful."""

    def __init__(self, by_id: Mapping[str, Node], url: str) -> None:
        self._by_id = by_id
        self._url = url
        self.warnings: list[str] = []

    def facts(self, event: Node) -> Facts:
        """What the event says of itself."""
        start, end = self.time(event, "startDate"), self.time(event, "endDate")
        venue_name, address = self.place(event.get("location"))
        low, high, is_free, sold_out, ticket_url = self.offers(event)
        title = text_of(event.get("name"))
        return Facts(
            title=bare_title(title) if title else None,
            summary=text_of(event.get("description")),
            category=category_of(event),
            start=start,
            end=whole_day(end) if start is not None and not is_timed(start) else end,
            previous_start=self.time(event, "previousStartDate"),
            status=self.status(event),
            sold_out=sold_out,
            venue_name=venue_name,
            address=address,
            organizer=next(iter(self.names(event.get("organizer"))), None),
            performers=self.names(event.get("performer")) or None,
            price_min_dkk=low,
            price_max_dkk=high,
            is_free=is_free,
            ticket_url=ticket_url,
            image_url=self.image(event.get("image")),
        )

    def resolve(self, value: Any) -> Any:
        """The node that `{"@id": …}` refers to, where the page has it."""
        if isinstance(value, Mapping) and set(value) == {"@id"}:
            return self._by_id.get(str(value["@id"]), value)
        return value

    def time(self, event: Node, name: str) -> Local | None:
        """A date or time; one that cannot be read is reported."""
        text = text_of(first(event.get(name)))
        local = parse_iso(text) if text else None
        if text and local is None:
            self.warnings.append(f"{name} is not a date: {text[:60]}")
        return local

    def status(self, event: Node) -> Status | None:
        """The event's status, where it states one."""
        text = text_of(first(event.get("eventStatus")))
        return STATUSES.get(re.split(r"[/#:]", text)[-1].lower()) if text else None

    def names(self, value: Any) -> tuple[str, ...]:
        """The names of persons or organisations."""
        found = []
        for one in map(self.resolve, as_list(value)):
            name = text_of(one.get("name")) if isinstance(one, Mapping) else text_of(one)
            if name:
                found.append(name)
        return tuple(dict.fromkeys(found))[:50]

    def image(self, value: Any) -> str | None:
        """The URL of the first image."""
        for one in map(self.resolve, as_list(value)):
            url = (one.get("url") or one.get("contentUrl")) if isinstance(one, Mapping) else one
            if isinstance(url, str) and (absolute := web_url(url, self._url)):
                return absolute
        return None

    def place(self, value: Any) -> tuple[str | None, str | None]:
        """Name and address of the first real place."""
        for one in map(self.resolve, as_list(value)):
            if isinstance(one, str):
                return text_of(one), None
            if isinstance(one, Mapping) and "VirtualLocation" not in types_of(one):
                return text_of(one.get("name")), self.address(one.get("address"))
        return None, None

    def address(self, value: Any) -> str | None:
        """`Street 1, 7100 Vejle`, from a postal address or as it stands."""
        value = self.resolve(first(value))
        if not isinstance(value, Mapping):
            return text_of(value)
        town = " ".join(
            filter(None, map(text_of, map(value.get, ("postalCode", "addressLocality"))))
        )
        return ", ".join(filter(None, (text_of(value.get("streetAddress")), town))) or None

    def offers(
        self, event: Node
    ) -> tuple[float | None, float | None, bool | None, bool | None, str | None]:
        """Lowest and highest price in kroner, whether free, whether sold out, where to buy."""
        offers = [
            one
            for one in map(self.resolve, as_list(event.get("offers")))
            if isinstance(one, Mapping)
        ]
        prices = [price for offer in offers for price in self.prices(offer)]
        states = [str(offer.get("availability", "")).rsplit("/", 1)[-1] for offer in offers]
        sold_out = all(state == "SoldOut" for state in states) if any(states) else None
        urls = (web_url(str(offer["url"]), self._url) for offer in offers if offer.get("url"))
        ticket_url = next(filter(None, urls), None)
        if prices:
            return min(prices), max(prices), max(prices) == 0, sold_out, ticket_url
        stated = event.get("isAccessibleForFree")
        is_free = str(stated).lower().endswith("true") if stated is not None else None
        return None, None, is_free, sold_out, ticket_url

    def prices(self, offer: Node) -> list[float]:
        """The prices of one offer that are in kroner; others are reported and left out."""
        specification = self.resolve(first(offer.get("priceSpecification")))
        parts = [offer, specification] if isinstance(specification, Mapping) else [offer]
        found = []
        for part in parts:
            values = [
                part.get(name)
                for name in ("price", "lowPrice", "highPrice", "minPrice", "maxPrice")
            ]
            amounts = [price for value in values if (price := amount(value)) is not None]
            currency = part.get("priceCurrency") or offer.get("priceCurrency")
            if amounts and any(amounts) and str(currency).upper() not in ("DKK", "KR", "KR."):
                self.warnings.append(
                    f"a price in {text_of(currency) or 'no currency'} was left out"
                )
            else:
                found += amounts
        return found


def category_of(event: Node) -> str | None:
    """Our category of the most specific type."""
    categories = (EVENT_TYPES.get(name) for name in sorted(types_of(event)))
    return next(filter(None, categories), None)


def amount(value: Any) -> float | None:
    """A price as numbers and strings spell it: 150, "150.00", "1.250", "150,- kr."."""
    if isinstance(value, bool) or value is None:
        return None
    match = AMOUNT.fullmatch(str(value).strip())
    if match is None:
        return None
    digits = match[1]
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", digits):
        digits = digits.replace(".", "")
    return float(digits.replace(",", "."))


def whole_day(end: Local | None) -> Local | None:
    """The end of an event without times: a day."""
    return None if end is None else day_of(end)


def as_list(value: Any) -> list[Any]:
    """A list as it is, nothing as none, anything else as one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def first(value: Any) -> Any:
    """The first of a list, or the value itself."""
    return next(iter(as_list(value)), None)


def text_of(value: Any) -> str | None:
    """A string without markup, or None. Language-tagged values count as what they hold."""
    value = first(value)
    if isinstance(value, Mapping):
        value = value.get("@value")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return clean(TAG.sub(" ", clean(str(value)))) or None
