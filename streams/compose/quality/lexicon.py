"""The lexicon: phrases that state something, with the fact that must be true for them, and phrases
that give away a talk between writer and machine.
"""

from __future__ import annotations

from typing import Final

from streams.compose.quality.phrasebook import Phrasebook

NEVER = ""

CLAIMS: Final = Phrasebook({
    "item.ends_soon": """
        hurry | hurrying | last chance | final chance | final call | act now | act fast
        act quick/quickly | don't/dont miss | do not miss | don't/dont wait | do not wait
        before it's/its/they're * gone | before * too late | limited time | time limited
        running out | runs out | run out | ends soon | ending soon | ends * soon | expires
        expiring | expire | final hours | final days | last day | last days/hours/minutes
        now or never | clock is ticking | time is running | time is short | urgent | urgently
        deadline | immediately | instantly | offer ends | closes soon | closing soon | won't last
        wont last | will not last | going going | last minute | flash sale | soon gone | gone soon
        soon be gone | for a short time | for a limited | short time only | countdown | nur noch
        letzte chance | nicht verpassen | derniere chance | depechez | ultima oportunidad
        beeilen | beeile | jetzt zugreifen | date prisa""",
    "item.low_stock": """
        only * left | just a/one/_/few left | just a few left | just a handful left | few left
        a few left | almost gone | nearly gone | selling fast | selling out | sells out | sell out
        sold out | sells fast | going fast | goes fast | low stock | low in stock | stock is low
        stocks are low | limited stock | limited supply | limited supplies | limited quantity
        limited quantities | limited edition | limited availability | while stocks/supplies/stock
        while it lasts | while they last | running low | last piece | last pieces | last ones
        last items | last remaining | few remain | few remaining | hard to find | rare
        rarely available | scarce | in short supply | before someone else | before somebody else
        others have it in | back in stock | nur wenige | fast ausverkauft | solange der vorrat
        stock limite | ultimas unidades | pocas unidades""",
    "item.free_shipping": """
        free shipping/delivery/postage/returns/return | free * shipping/delivery/postage
        ships free | ship free | ships for free | delivered free | delivered for free
        shipping is free | delivery is free | shipping * on us | delivery * on us
        postage * on us | complimentary shipping/delivery/postage | no shipping
        no delivery cost/costs/fee/fees/charge/charges | shipping costs nothing | without shipping
        shipping included | delivery included | postage paid | shipping waived
        we'll/we cover * shipping/delivery | we pay * shipping/delivery | kostenloser versand
        versandkostenfrei | gratis versand | livraison gratuite/offerte | envio gratis/gratuito""",
    "item.discounted": """
        discount | discounts | discounted | discounting | sale | sales | on offer | special offer
        offers | exclusive offer | an offer | our offer | this offer | great offer | deal | deals
        bargain | bargains | price drop | price dropped | price has dropped | dropped in price
        price cut | price is lower | lower price | lower prices | lowest price | lowest prices
        reduced | reduction | marked down | markdown | knocked off | cheaper | cheapest | cheap
        best price | special price | save money | save big | save up | save more | savings
        money off | clearance | coupon | coupons | voucher | vouchers | promo | promos | promotion
        promotional | promo code | code | rebate | cashback | cash back | bonus | bogo | buy one
        for less | at a fraction | a steal | steal of | was now | price match | percent off
        off your | off the price | off everything | gift | gifts | giveaway | prize | reward
        rewards | loyalty points | points | free | freebie | for nothing | at no cost | no cost
        no charge | on the house | complimentary | on us | gratis | rabatt | reduziert | gunstiger
        angebot | schnappchen | gutschein | remise | promotion | solde | soldes | moins cher
        gratuit | gratuite | cadeau | descuento | oferta | ofertas | rebaja | rebajas | rebajado
        regalo | kostenlos | geschenk""",
    "item.bestseller": """
        bestseller | bestsellers | best seller | best sellers | best selling | bestselling
        top seller | top selling | top rated | most popular | most loved | most wanted
        popular choice | popular item | is popular | so popular | very popular | customers love
        people love | everyone loves | everybody loves | everyone's favourite/favorite | loved by
        adored by | trusted by | chosen by | recommended by | recommend/recommends it
        highly recommended | trending | award winning | award | awards | in demand | high demand
        great demand | people are buying | others are buying | customers buy | everyone is
        everybody is | a favourite/favorite with | a favourite/favorite of
        customer favourite/favorite | our customers order | rated | rating | ratings | reviews
        stars | star | verkaufsschlager | meistverkauft | plus vendu | mas vendido | superventas""",
    "item.new": """
        brand new | just arrived | just landed | just launched | new arrival | new arrivals
        newly arrived | new in | latest | newest | all new | neu eingetroffen | nouveaute
        recien llegado""",
    NEVER: """
        guarantee | guarantees | guaranteed | guaranty | unbeatable | unmatched | unrivalled
        unrivaled | world's | world class | number one | the best | the finest | best in
        best ever | once in a lifetime | perfect for everyone | risk free | no risk | without risk
        miracle | miraculous | magical results | cure | cures | cured | heal | heals | healing
        clinically | clinical | doctor | doctors | dermatologist | medically | proven
        scientifically | weight loss | lose weight | slimming | detox | anti aging | anti ageing
        antibacterial | therapeutic | treats | relieves | immune | immunity | invest | investment
        investments | profit | profits | earn | earnings | income | get rich | wealth | crypto
        double your | winner | you've won | you have won | you won | congratulations | jackpot
        lottery | casino | viagra | loan | loans | credit | refinance | lawsuit | legal action
        final notice | account suspended | account will be | your account * closed | verify your
        confirm your password | password | click here | click below | as seen on | no obligation
        trust me | believe me | this is not spam | amazon | ebay | walmart | aliexpress | temu
        than any other | than competitors | competitor | competitors | better than | garantiert
        garantie | garanti | garantizado""",
})

ECHOES: Final = Phrasebook({"talk about the writing": """
        ignore * previous/prior/above/earlier/instruction/instructions/rules | disregard
        system prompt | prompt | prompts | instruction | instructions | as an ai | language model
        ai assistant/model | chatbot | gpt | llm | jailbreak | developer mode | you are now
        pretend | roleplay | forget everything | i cannot/can't | i can not | i am sorry/unable
        i'm sorry/unable | as requested | as instructed | sure here
        here is the/a/your email/message/draft/text/json/subject
        here's the/a/your email/message/draft/text/json/subject | subject line | json | yaml | xml
        placeholder | placeholders | skeleton | strategy | social proof | the brief | slot | slots
        customer segment | segment | segments | assistant | user says/said/input | hypothetical
        override | overridden | ignoriere | ignorieren | anweisungen | ignorez | ignora
        instrucciones | prompt injection"""})
