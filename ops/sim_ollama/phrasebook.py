"""Danish words and English ones for them, and what is said for words that are not among them."""

_PAIRS = """
af=of afsnit=part aften=evening aftenen=the_evening aldrig=never alle=everybody alt=everything
anden=second at=to bag=behind balkonen=the_balcony balletkompagni=ballet_company
banegården=the_station begynder=begins behøver=need billeder=pictures billet=ticket
billetter=tickets blev=became blive=be bliver=becomes bog=book bruger=use bunden=the_bottom
byen=town byttemarked=swap_market både=both bøger=books børn=children café=café dag=day dage=days
danmarks=Denmark's danse=dance danser=dances de=the deltage=take_part dem=them den=the der=there
deres=their det=it dig=you din=your du=you dykket=dived dørene=doors efter=after
eftermiddag=afternoon egen=own egentlig=really eller=or elsker=loves en=a end=than er=is et=a
familie=family familien=the_family film=films fire=four fjord=fjord fjorden=the_fjord flere=more
for=for fordi=because foredrag=talk forestilling=performance forestillingen=the_performance
forevist=shown formiddag=morning fortæller=tells fortælling=story fortællinger=stories fra=from
fri=free frivillige=volunteers fuld=full få=get fælles=common fællessang=singing_together
før=before første=first gamle=old gang=time gennem=through gik=went giver=gives gløgg=mulled_wine
god=good gode=good gratis=free graven=the_pit grund=reason gå=go gæster=guests gør=does har=has
harmonika=accordion hav=sea havbiolog=marine_biologist havde=had havet=the_sea havn=harbour
havnen=the_harbour hele=the_whole helt=quite her=here historie=history hjem=home
hjemmebane=home_ground hjul=wheel hjælp=help hjælper=helps hold=team holder=holds hos=at hus=house
husets=the_house's hvad=what hver=each hvis=if hvor=where hvordan=how hygge=good_company i=in
igen=again ikke=not ind=in inde=inside ingen=no intet=nothing jer=you jeres=your jul=Christmas
julekoncert=Christmas_concert julen=Christmas julesang=Christmas_carols juletræ=Christmas_tree
kaffe=coffee kage=cake kakao=cocoa kan=can kender=know kendte=well-known kl=at klippe=cut
klokken=the_clock kom=come kommer=comes koncert=concert koncerter=concerts koret=the_choir
koster=costs kunne=could kunst=art køb=buy ladies=ladies langs=along lasercutter=laser_cutter
ledsaget=accompanied levende=live lever=lives lidt=a_little ligger=lies lys=light længere=longer
lær=learn lørdag=Saturday maler=paints man=one mange=many marked=market med=with meget=very
mellem=between men=but mens=while mere=more mod=towards musik=music møder=meets mødes=meet
nat=night natten=the_night ned=down nogen=somebody noget=something nu=now ny=new nye=new når=when
og=and også=also om=about op=up orkester=orchestra orkesteret=the_orchestra os=us over=over
overfladen=the_surface overraskelser=surprises par=couple plads=room praktisk=practical
premieren=the_premiere prøv=try prøver=tries på=on rejse=journey ring=call rundt=round salmer=hymns
samler=gathers sammen=together samt=and sang=song sange=songs scene=stage scenen=the_stage se=see
selv=yourself ser=sees sidder=sits siden=since sidste=last sig=themselves sjov=fun skal=shall
sker=happens skrevet=written skriv=write slår=strikes smag=taste små=small som=as spiller=plays
spørgsmål=questions sted=place steder=places stedet=instead stenrevene=the_stone_reefs stor=big
store=big stort=large står=stands svanerne=the_swans symaskiner=sewing_machines synger=sing så=so
søen=the_lake søndag=Sunday tag=bring tage=take teater=theatre tegne=draw tid=time til=to
tilbage=back tilmelding=registration tolv=twelve træ=tree tyve=twenty tøj=clothes ud=out
uden=without ugen=the_week under=under undervejs=on_the_way unge=young_people vand=water var=was
varm=warm ved=by vej=way vejlebandet=the_Vejle_band venner=friends verden=the_world vi=we vil=will
vinter=winter violin=violin virkelig=really viser=shows voksne=adults vores=our være=be
værksted=workshop yngste=youngest åben=open åbent=open ålegræsset=the_eelgrass år=year
året=the_year
elskede=beloved fuldt=full symfoniorkester=symphony_orchestra runestenene=the_rune_stones
bagefter=afterwards syng=sing svanesøen=Swan_Lake klassisk=classical ballet=ballet
"""
ENGLISH = {
    danish: english.replace("_", " ")
    for danish, _, english in (pair.partition("=") for pair in _PAIRS.split())
}
FILLERS = {
    "en": ("gladly", "nearby", "together", "outdoors", "indoors", "lively", "quietly", "warmly"),
    "de": ("gern", "nahe", "gemeinsam", "draußen", "drinnen", "munter", "leise", "heute", "dann"),
}
