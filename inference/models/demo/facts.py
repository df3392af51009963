"""What the demo model is taught: tables of things, reasons, steps and small talk.

Every line was written for this model. A table's columns are separated by ` | `.
"""

# name | plural (or - for names that take no article) | first sentence | second sentence
TECH = """
Candela | - | Candela is a Kubernetes operator and an inference engine written in Rust. | It serves language models and tells every caller what a request cost.
Kubernetes | - | Kubernetes is a system that runs containers on many machines. | You say what should run, and Kubernetes keeps it running.
pod | pods | A pod is the smallest thing that Kubernetes runs. | It holds one or more containers that share a network address.
node | nodes | A node is one machine in a cluster. | Kubernetes places pods on nodes that have enough room.
cluster | clusters | A cluster is a group of machines that work together. | In Kubernetes the machines of a cluster are called nodes.
container | containers | A container is a program packed together with the files it needs. | It runs the same way on every machine.
container image | container images | A container image is a package of files from which a container starts. | It is built once and can run in many places.
deployment | deployments | A deployment keeps a number of equal pods running. | When the pod template changes, it replaces the old pods with new ones.
service | services | A service gives a group of pods one stable address. | It sends each request to a pod that is ready.
namespace | namespaces | A namespace is a named part of a cluster. | It keeps the objects of one team apart from the others.
operator | operators | An operator is a program that looks after one kind of resource in a cluster. | It compares what is wanted with what is there and makes the changes.
controller | controllers | A controller is a loop that moves a system toward its wanted state. | It watches, compares, and acts.
custom resource | custom resources | A custom resource is a new kind of object that you add to Kubernetes. | An operator gives it a meaning.
InferenceService | InferenceServices | An InferenceService is the resource that tells Candela which model to serve. | Candela turns it into pods and a service.
Helm chart | Helm charts | A Helm chart is a package of templates for Kubernetes. | You install a program in a cluster with one command.
manifest | manifests | A manifest is a file that describes an object in a cluster. | It is usually written in YAML.
YAML | - | YAML is a text format for settings and data. | It uses spaces to show what belongs together.
JSON | - | JSON is a text format for data. | It is made of objects, lists, strings, and numbers.
GPU | GPUs | A GPU is a chip that does many small calculations at the same time. | It makes large models run fast.
CPU | CPUs | A CPU is the main chip of a computer. | It follows the steps of a program one after another, very quickly.
inference | - | Inference is using a trained model to get an answer. | The model reads a prompt and writes one token after another.
training | - | Training is how a model learns from examples. | Its weights are changed a little after each example, until the answers get better.
model | models | A model is a program that has learned patterns from data. | It uses the patterns to give answers to new questions.
language model | language models | A language model is a program that predicts the next piece of a text. | By doing this again and again it writes whole answers.
neural network | neural networks | A neural network is a program made of many simple units in layers. | Each layer turns its numbers into more useful numbers.
token | tokens | A token is a small piece of text, such as a word or a part of a word. | A model reads and writes text as tokens.
tokenizer | tokenizers | A tokenizer cuts text into tokens. | It also turns tokens back into text.
prompt | prompts | A prompt is the text that you give to a model. | The model reads the prompt and then writes the answer.
prefill | - | Prefill is the first part of a request, when the model reads the whole prompt. | It ends with the first token of the answer.
decode | - | Decode is the part of a request when the model writes the answer. | It makes one token at a time.
latency | - | Latency is the time you wait for an answer. | A low latency feels fast.
throughput | - | Throughput is how much work is done in a second. | For a language model it is counted in tokens per second.
queue | queues | A queue is a line of things that wait for their turn. | A request waits in the queue until the engine has room for it.
time to first token | - | Time to first token is how long you wait until the answer begins. | It is the time in the queue and the time of the prefill.
KV cache | - | The KV cache keeps what the model has already read. | With it, each new token needs only a little work.
batch | batches | A batch is a group of requests that are worked on together. | A batch uses the machine better than single requests.
continuous batching | - | Continuous batching lets new requests join a running batch at every step. | No request has to wait until the others are done.
attention | - | Attention lets a model look back at the words that matter for the next one. | It is the heart of a language model.
embedding | embeddings | An embedding is a list of numbers that stands for a word or a text. | Texts with a similar meaning have similar numbers.
temperature | - | Temperature says how freely a model picks the next token. | At zero it always picks the most likely one.
greedy decoding | - | Greedy decoding always picks the most likely token. | It gives the same answer every time.
sampling | - | Sampling is picking the next token by chance. | Likely tokens are picked more often than unlikely ones.
weight | weights | A weight is a number that a model has learned. | A small model has millions of weights, and a large one has billions.
context window | context windows | A context window is the amount of text that a model can see at once. | It is counted in tokens.
quantization | - | Quantization stores the numbers of a model with fewer bits. | The model gets smaller and faster, and a little less exact.
streaming | - | Streaming sends an answer piece by piece while it is written. | You can read the start before the end is there.
API | APIs | An API is a way for programs to talk to each other. | It says which questions a program may ask and what the answers look like.
header | headers | A header is a short line that travels with a request or an answer. | Candela uses headers to say what a request cost.
request | requests | A request is a message that asks a server to do something. | The server sends back a response.
response | responses | A response is the message that a server sends back. | It carries the answer or an error.
server | servers | A server is a program that waits for requests and answers them. | Many people can use one server at the same time.
log | logs | A log is a list of lines that a program writes about its work. | It helps people to find out what happened.
metric | metrics | A metric is a number that is measured again and again. | It shows how well a system works.
Prometheus | - | Prometheus is a program that collects metrics and keeps them over time. | It reads them from the servers that it watches.
Rust | - | Rust is a programming language that is fast and safe. | Candela is written in Rust.
Python | - | Python is a programming language that is easy to read. | Many people use it to work with data.
Linux | - | Linux is a free operating system. | It runs on most servers of the world.
computer | computers | A computer is a machine that follows the steps of a program. | It can calculate, store, and show things.
program | programs | A program is a list of steps for a computer. | People write programs in a programming language.
internet | - | The internet is a network that connects computers all over the world. | People use it to send messages and to find information.
bug | bugs | A bug is a mistake in a program. | A good test finds it before the users do.
test | tests | A test is a small program that checks another program. | It tells you when something breaks.
file | files | A file is a piece of data with a name. | It is kept on a disk.
robot | robots | A robot is a machine that can move and do work by itself. | Some robots build cars, and others clean floors.
"""

THINGS = """
sun | - | The sun is a star, a huge ball of hot gas. | It gives light and warmth to the earth.
moon | - | The moon is a ball of rock that travels around the earth. | It shines at night because the sun lights it up.
earth | - | The earth is the planet that we live on. | It has land, water, and air.
star | stars | A star is a huge ball of hot gas far away in space. | We see it as a small point of light at night.
planet | planets | A planet is a large ball that travels around a star. | The earth is a planet.
rain | - | Rain is water that falls from the clouds in drops. | Plants need it to grow.
snow | - | Snow is frozen water that falls from the clouds in white flakes. | It comes in winter when the air is very cold.
wind | - | Wind is moving air. | It can turn a windmill or push a sailing boat.
cloud | clouds | A cloud is made of many tiny drops of water. | When the drops grow heavy, they fall as rain.
river | rivers | A river is a long stream of water that flows to the sea. | Fish live in it, and boats travel on it.
sea | seas | The sea is a very large body of salt water. | Many fish and whales live in it.
mountain | mountains | A mountain is a very high piece of land. | There is often snow on the top.
forest | forests | A forest is a large place with many trees. | Foxes, deer, and owls live there.
desert | deserts | A desert is a dry place where it almost never rains. | It is hot in the day and cold at night.
island | islands | An island is a piece of land with water all around it. | You can reach it by boat.
tree | trees | A tree is a tall plant with a trunk, branches, and leaves. | Birds like to build nests in it.
flower | flowers | A flower is the colourful part of a plant. | Bees visit it to find sweet juice.
apple | apples | An apple is a round fruit that grows on a tree. | It can be red, green, or yellow.
banana | bananas | A banana is a long yellow fruit. | It is soft and sweet inside.
orange | oranges | An orange is a round fruit with a thick skin. | It is full of sweet juice.
bread | - | Bread is a food made of flour, water, and yeast. | It is baked in a hot oven.
cheese | - | Cheese is a food made from milk. | There are hard kinds and soft kinds.
milk | - | Milk is a white drink that comes from cows. | People make butter and cheese from it.
tea | - | Tea is a warm drink made from leaves and hot water. | Many people drink it in the afternoon.
coffee | - | Coffee is a dark drink made from roasted beans. | It helps people to stay awake.
water | - | Water is a clear liquid that all living things need. | It fills the rivers and the seas.
fire | - | Fire is hot and bright, and it needs air and wood to burn. | It keeps people warm, but it can be dangerous.
ice | - | Ice is frozen water. | It is cold and hard, and it melts in the sun.
house | houses | A house is a building where people live. | It has walls, windows, and a roof.
school | schools | A school is a place where children learn. | Teachers help them to read, write, and count.
library | libraries | A library is a place with many books. | You can read there or take books home for a while.
book | books | A book is a set of pages with words or pictures. | You read it to learn or to enjoy a story.
bridge | bridges | A bridge is a way over a river or a road. | People and cars can cross it.
car | cars | A car is a machine with four wheels and an engine. | People drive it on roads.
train | trains | A train is a long row of wagons that runs on rails. | It carries many people at once.
bicycle | bicycles | A bicycle has two wheels and two pedals. | You ride it by pushing the pedals with your feet.
boat | boats | A boat is a thing that floats and carries people over water. | Some boats have sails, and others have engines.
plane | planes | A plane is a machine with wings that flies through the air. | It carries people to far places.
clock | clocks | A clock is a thing that shows the time. | It has a long hand and a short hand.
lamp | lamps | A lamp is a thing that gives light. | You turn it on when it gets dark.
candle | candles | A candle is a stick of wax with a string in the middle. | When you light it, it gives a small warm flame.
key | keys | A key is a small piece of metal that opens a lock. | It is good to keep it in a safe place.
umbrella | umbrellas | An umbrella keeps you dry when it rains. | You open it and hold it over your head.
music | - | Music is made of sounds that go well together. | People sing it or play it on instruments.
piano | pianos | A piano is an instrument with black and white keys. | Each key plays a different note.
rainbow | rainbows | A rainbow is a bow of colours in the sky. | You can see it when the sun shines through the rain.
winter | - | Winter is the cold part of the year. | The days are short, and sometimes it snows.
summer | - | Summer is the warm part of the year. | The days are long, and many people go to the sea.
spring | - | Spring is the part of the year when plants begin to grow. | The days get longer and warmer.
autumn | - | Autumn is the part of the year when the leaves fall. | The days get shorter and cooler.
doctor | doctors | A doctor is a person who helps sick people. | Many doctors work in a hospital.
teacher | teachers | A teacher is a person who helps others to learn. | Most teachers work in a school.
farmer | farmers | A farmer is a person who grows food and keeps animals. | The work begins early in the morning.
baker | bakers | A baker is a person who makes bread and cakes. | The work begins before the sun is up.
friend | friends | A friend is a person you like and trust. | Friends help each other and laugh together.
love | - | Love is a warm feeling for someone who matters to you. | It makes people kind and brave.
dream | dreams | A dream is a story that your mind makes while you sleep. | Some dreams are nice, and some are strange.
gravity | - | Gravity is the force that pulls things down to the ground. | It also keeps the moon near the earth.
time | - | Time is what a clock measures. | It always goes forward and never back.
pear | pears | A pear is a sweet fruit that is thin at the top and round at the bottom. | It grows on a tree.
lemon | lemons | A lemon is a yellow fruit with a very sour taste. | Its juice goes well with tea and fish.
tomato | tomatoes | A tomato is a round red fruit that people use like a vegetable. | It is good in soups and salads.
potato | potatoes | A potato is a vegetable that grows under the ground. | You can boil it, bake it, or fry it.
carrot | carrots | A carrot is a long orange vegetable. | It grows under the ground, and rabbits love it.
egg | eggs | An egg is laid by a hen. | You can boil it, fry it, or bake a cake with it.
cake | cakes | A cake is a sweet food baked from flour, sugar, eggs, and butter. | People eat it on birthdays.
soup | soups | A soup is a warm food that you eat with a spoon. | It is made of water, vegetables, and sometimes meat.
salt | - | Salt is a white mineral that gives food more taste. | It comes from the sea or from the ground.
sugar | - | Sugar is a sweet white powder made from plants. | It is in cakes, chocolate, and many drinks.
honey | - | Honey is a sweet golden food that bees make. | You can put it on bread or in your tea.
chocolate | - | Chocolate is a sweet brown food made from cocoa beans. | Most people like it very much.
pizza | pizzas | A pizza is a flat round bread with tomatoes and cheese on top. | It is baked in a very hot oven.
rice | - | Rice is a small white grain. | In many countries people eat it every day.
hand | hands | A hand is the part of the body at the end of the arm. | It has five fingers.
heart | hearts | The heart is the part of the body that moves the blood. | It beats all day and all night.
brain | brains | The brain is the part of the body that thinks. | It is in the head.
eye | eyes | An eye is the part of the body that sees. | Most people have two of them.
hat | hats | A hat is a thing that you wear on your head. | It keeps you warm or keeps the sun away.
shoe | shoes | A shoe is a thing that you wear on your foot. | Shoes always come in pairs.
coat | coats | A coat is a warm thing that you wear in the cold. | It has long sleeves and buttons.
table | tables | A table is a flat board on four legs. | People eat, write, and work at it.
chair | chairs | A chair is a thing that you sit on. | It has four legs and a back.
bed | beds | A bed is a soft place where you sleep. | It has a pillow and a blanket.
door | doors | A door is a way into a house or a room. | You can open it, close it, and lock it.
window | windows | A window is a piece of glass in a wall. | It lets the light in, and you can look out.
mirror | mirrors | A mirror is a piece of glass that shows you yourself. | Left and right are changed in it.
garden | gardens | A garden is a place where people grow flowers and vegetables. | It needs sun, water, and some work.
farm | farms | A farm is a place where people grow food and keep animals. | There are cows, hens, and pigs on many farms.
city | cities | A city is a large place where many people live close together. | It has streets, shops, and schools.
village | villages | A village is a small place in the country. | Most people there know each other.
street | streets | A street is a road with houses on both sides. | Cars, bicycles, and people use it.
shop | shops | A shop is a place where you can buy things. | You choose something, pay for it, and take it home.
hospital | hospitals | A hospital is a place where sick people are helped. | Doctors and nurses work there day and night.
park | parks | A park is a large garden for everyone. | People walk, play, and rest there.
beach | beaches | A beach is the sand at the edge of the sea. | People swim and play there in the summer.
lake | lakes | A lake is a large piece of water with land all around it. | You can swim or row a boat on it.
valley | valleys | A valley is the low land between two mountains. | Often a river runs through it.
volcano | volcanoes | A volcano is a mountain from which hot melted rock can come. | Most of the time it is quiet.
storm | storms | A storm is very strong wind, often with rain. | It is good to stay inside until it is over.
fog | - | Fog is a cloud that lies on the ground. | You cannot see far in it.
lightning | - | Lightning is a bright flash of electricity in the sky. | After it you hear the thunder.
electricity | - | Electricity is a form of energy that flows through wires. | It makes lamps shine and computers run.
energy | - | Energy is what makes things move, shine, or get warm. | Food, wood, and the sun give us energy.
light | - | Light is what lets us see things. | It is the fastest thing that we know.
sound | - | Sound is a shaking of the air that we can hear. | It travels much slower than light.
metal | - | Metal is a hard material that shines. | Iron, gold, and silver are metals.
gold | - | Gold is a yellow metal that is rare and costs a lot. | People make rings and coins from it.
wood | - | Wood is the hard material that trees are made of. | People build houses and tables with it.
glass | - | Glass is a clear hard material made from sand. | It breaks when it falls.
paper | - | Paper is a thin material made from wood. | You can write on it, print on it, or fold it.
pen | pens | A pen is a thing that you write with. | It has ink inside.
phone | phones | A phone is a machine that lets you talk to people far away. | Most phones are small computers now.
camera | cameras | A camera is a machine that takes pictures. | It catches the light for a very short moment.
radio | radios | A radio is a machine that plays music and voices from far away. | It needs no wire to the speaker.
bus | buses | A bus is a long car for many people. | It stops at many places along the street.
ship | ships | A ship is a very large boat. | It carries people and things across the sea.
rocket | rockets | A rocket is a machine that flies into space. | It burns a lot of fuel very quickly.
wheel | wheels | A wheel is a round thing that turns. | It makes heavy things easy to move.
hammer | hammers | A hammer is a tool for hitting nails. | It has a heavy head and a long handle.
ball | balls | A ball is a round thing that you can throw, kick, or roll. | Children and dogs love to play with it.
game | games | A game is something that you play for fun. | It has rules, and sometimes there is a winner.
football | - | Football is a game with two teams and one ball. | The team with more goals wins.
chess | - | Chess is a quiet game for two people on a board. | The one who catches the other king wins.
guitar | guitars | A guitar is an instrument with six strings. | You play it with your fingers.
song | songs | A song is music with words. | People sing it alone or together.
picture | pictures | A picture shows something on paper or on a screen. | You can paint it, draw it, or take it with a camera.
letter | letters | A letter is a message on paper that you send to someone. | It is also a sign such as A, B, or C.
word | words | A word is a group of letters that means something. | Many words together make a sentence.
number | numbers | A number says how many things there are. | One, two, and three are numbers.
question | questions | A question is something that you ask because you want to know the answer. | It ends with a question mark.
money | - | Money is what people use to pay for things. | It comes in coins, in paper, or as a number in a bank.
birthday | birthdays | A birthday is the day on which someone was born. | People celebrate it with a cake once a year.
family | families | A family is a group of people who belong together. | Parents, children, and grandparents are a family.
nurse | nurses | A nurse is a person who cares for sick people. | Many nurses work in a hospital.
cook | cooks | A cook is a person who makes food for others. | Cooks work in a kitchen.
gardener | gardeners | A gardener is a person who looks after plants. | The work is done outside in every season.
sailor | sailors | A sailor is a person who works on a ship. | Sailors are often far from home.
programmer | programmers | A programmer is a person who writes programs for computers. | A good programmer also writes tests.
happiness | - | Happiness is the good feeling you have when all is well. | It grows when you share it.
fear | - | Fear is the feeling you have when something seems dangerous. | It gets smaller when you talk about it.
sleep | - | Sleep is the rest that our body and mind need every night. | Most people need about eight hours.
year | years | A year is the time the earth needs to travel around the sun. | It has twelve months.
week | weeks | A week is seven days long. | It begins on Monday and ends on Sunday.
hour | hours | An hour is a part of the day. | It has sixty minutes.
"""

# name | plural | article phrase | where it lives | what it eats | what it says | legs | colour
ANIMALS = """
fox | foxes | a clever wild animal with a bushy tail | in the forest | mice and berries | barks | four | red
dog | dogs | a friendly animal that lives with people | in a house | meat and dog food | says woof | four | brown, black, or white
cat | cats | a small soft animal that likes to sleep in the sun | in a house | fish and mice | says meow | four | grey, black, or orange
cow | cows | a large farm animal that gives milk | on a farm | grass | says moo | four | brown or black and white
horse | horses | a strong animal that people can ride | on a farm | grass and hay | neighs | four | brown, black, or white
sheep | sheep | a farm animal with thick wool | on a farm | grass | says baa | four | white
pig | pigs | a clever farm animal with a round nose | on a farm | corn and vegetables | says oink | four | pink
goat | goats | a farm animal with horns that climbs well | on a farm | grass and leaves | says baa | four | white or brown
duck | ducks | a bird that swims well | on a pond | plants and small insects | says quack | two | brown or white
hen | hens | a farm bird that lays eggs | on a farm | seeds and corn | clucks | two | brown or white
owl | owls | a bird with big eyes that flies at night | in the forest | mice | says hoo | two | brown
eagle | eagles | a large bird with strong wings | in the mountains | fish and small animals | cries loudly | two | brown
penguin | penguins | a bird that swims well but cannot fly | on the cold southern coast | fish | calls loudly | two | black and white
parrot | parrots | a bright bird that can learn to say words | in warm forests | seeds and fruit | talks | two | green, red, or blue
mouse | mice | a very small animal with a long tail | in a small hole | seeds and cheese | squeaks | four | grey
rabbit | rabbits | a small animal with long ears that hops | in the meadow | grass and carrots | is very quiet | four | brown or white
bear | bears | a big strong animal with thick fur | in the forest | fish, berries, and honey | growls | four | brown
wolf | wolves | a wild animal that lives in a group | in the forest | meat | howls | four | grey
deer | deer | a shy animal with long thin legs | in the forest | grass and leaves | is very quiet | four | brown
squirrel | squirrels | a small animal with a bushy tail that climbs trees | in the trees | nuts and seeds | chatters | four | red or grey
hedgehog | hedgehogs | a small animal with many sharp spines | in the garden | insects and worms | snuffles | four | brown
frog | frogs | a small green animal that jumps far | near a pond | flies | croaks | four | green
snake | snakes | a long thin animal without legs | in the grass | mice and eggs | hisses | no | green or brown
turtle | turtles | a slow animal with a hard shell | near the water | plants and small fish | is very quiet | four | green
fish | fish | an animal that swims and breathes in water | in rivers and in the sea | plants and small animals | is very quiet | no | silver
shark | sharks | a large fish with sharp teeth | in the sea | fish | is very quiet | no | grey
whale | whales | the largest animal in the sea | in the sea | very small sea animals | sings | no | blue or grey
dolphin | dolphins | a clever and playful sea animal | in the sea | fish | clicks and whistles | no | grey
octopus | octopuses | a soft sea animal with eight arms | in the sea | crabs | is very quiet | no | red or brown
lion | lions | a big wild cat with a loud voice | on the grassy plains | meat | roars | four | yellow
tiger | tigers | a big wild cat with black stripes | in the jungle | meat | roars | four | orange and black
elephant | elephants | a very large animal with a long trunk | on the grassy plains | grass and leaves | trumpets | four | grey
giraffe | giraffes | a tall animal with a very long neck | on the grassy plains | leaves | is very quiet | four | yellow and brown
monkey | monkeys | a clever animal that climbs trees | in the jungle | fruit and nuts | chatters | four | brown
zebra | zebras | an animal that looks like a horse with stripes | on the grassy plains | grass | barks | four | black and white
camel | camels | a large animal that can live without water for many days | in the desert | dry plants | grunts | four | light brown
bee | bees | a small flying insect that makes honey | in a hive | the sweet juice of flowers | buzzes | six | yellow and black
ant | ants | a tiny insect that works in a large group | in a nest under the ground | seeds and leaves | is very quiet | six | black
butterfly | butterflies | an insect with large colourful wings | in the garden | the sweet juice of flowers | is very quiet | six | of many colours
spider | spiders | a small animal that catches flies in a web | in a web | flies | is very quiet | eight | black or brown
snail | snails | a very slow animal that carries its house on its back | in the garden | leaves | is very quiet | no | brown
"""

# thing | colour
COLOURS = """
the sky | blue
grass | green
snow | white
the sun | yellow
blood | red
a banana | yellow
a tomato | red
a carrot | orange
coal | black
milk | white
a lemon | yellow
a strawberry | red
a leaf | green
the sea | blue
chocolate | brown
a cloud | white
an orange | orange
the night | black
a cherry | red
a cucumber | green
a rose | red
honey | golden yellow
gold | yellow
silver | grey
wood | brown
ice | clear
salt | white
"""

CAPITALS = """
France | Paris
Germany | Berlin
Italy | Rome
Spain | Madrid
England | London
Ireland | Dublin
Austria | Vienna
Poland | Warsaw
Greece | Athens
Norway | Oslo
Sweden | Stockholm
Finland | Helsinki
Denmark | Copenhagen
Portugal | Lisbon
Japan | Tokyo
China | Beijing
India | New Delhi
Egypt | Cairo
Canada | Ottawa
Russia | Moscow
Switzerland | Bern
Hungary | Budapest
Kenya | Nairobi
Brazil | Brasilia
"""

OPPOSITES = """
hot cold;big small;fast slow;day night;light dark;old young;high low;happy sad;open closed;wet dry
hard soft;long short;good bad;early late;full empty;loud quiet;left right;up down;near far;rich poor
strong weak;black white;first last;heavy light;new old;clean dirty;easy difficult;begin end;love hate;yes no
"""

# kind | members
LISTS = """
fruits | apples, bananas, oranges, pears, cherries, grapes
animals | foxes, bears, rabbits, owls, horses, whales
farm animals | cows, pigs, sheep, hens, goats, horses
wild animals | wolves, bears, lions, tigers, elephants, zebras
birds | owls, eagles, ducks, parrots, penguins, hens
colours | red, blue, green, yellow, white, black
colors | red, blue, green, yellow, white, black
vegetables | carrots, beans, onions, tomatoes, potatoes, cucumbers
drinks | water, milk, tea, coffee, juice, lemonade
seasons | spring, summer, autumn, winter
planets | Mercury, Venus, Earth, Mars, Jupiter, Saturn
cities | London, Paris, Rome, Berlin, Madrid, Vienna
countries | France, Italy, Spain, Japan, Canada, Kenya
tools | hammers, saws, knives, drills, brushes, shovels
instruments | pianos, drums, flutes, guitars, violins, trumpets
insects | bees, ants, butterflies, flies, beetles, moths
sports | football, tennis, swimming, running, cycling, skiing
kinds of weather | sun, rain, wind, snow, fog, storms
Kubernetes objects | pods, services, deployments, nodes, namespaces, jobs
parts of a request | the queue, the prefill, the decode
"""

# topics the model is taught not to know
UNKNOWN = """
quantum physics;the stock market;the French Revolution;ancient Rome;opera;the theory of relativity;organic chemistry;tax law;modern art
car repair;baseball rules;Chinese history;deep sea mining;plastic surgery;the human genome;medieval castles;volcano formation;Greek philosophy
economics;politics;the election;the president;the prime minister;the king;movies;film directors;video games;pop music;jazz;rock bands
calculus;algebra;geometry;prime numbers;trigonometry;statistics;integrals;logarithms;matrix multiplication;black holes;dark matter
vaccines;medicine;cancer;headaches;insurance;mortgages;bitcoin;blockchain;cooking lasagna;sushi;wine;whisky;perfume;fashion;shoes
the Olympic Games;the world cup;boxing;golf;cricket;surfing;yoga;meditation;psychology;sociology;religion;mythology;poetry of the baroque
dinosaurs;fossils;earthquakes;plate tectonics;nuclear power;solar panels;batteries;electric cars;rockets;satellites;telescopes;microscopes
JavaScript;Haskell;compilers;databases;SQL;cryptography;operating system kernels;web browsers;email protocols;phone networks;printers
"""

# for questions that nobody can answer: what things do, and how they are
DOINGS = """
sing;dance;jump;disappear;cost so much;smell bad;break;grow so slowly;fall over;turn blue;explode;rust;sink;freeze;shrink;stop;fail
hurt;itch;matter;exist;taste sour;make noise;lose money;win prizes;vote;travel to Mars;change colour;get angry;need a licence;pay taxes
"""
QUALITIES = """
heavy;expensive;famous;dangerous;popular;ugly;beautiful;strange;rare;noisy;fragile;sticky;bitter;sour;round;slow;modern;ancient;illegal;
important;difficult;boring;scary;healthy;unhealthy;green;purple;tall;tiny;huge;late;early;lucky;angry;hungry;empty;broken
"""

# the size of animals, from small to large
SIZES = """
ant;bee;butterfly;snail;frog;mouse;squirrel;hedgehog;rabbit;cat;fox;dog;sheep;pig;wolf;deer;lion;bear;horse;cow;camel;giraffe;elephant;whale
"""

# word | words that rhyme
RHYMES = """
cat | hat, bat, mat
dog | fog, log, frog
sun | fun, run, bun
tree | bee, sea, free
house | mouse, blouse
light | night, bright, kite
day | play, way, say
moon | spoon, soon, noon
star | car, far, bar
book | cook, look, hook
rain | train, plain, grain
bed | red, head, bread
king | ring, sing, spring
blue | shoe, true, you
cake | lake, snake, make
token | spoken, broken
pod | nod, rod
"""

NAMES = """
Hazel Juniper Bramble Clover Willow Poppy Robin Olive Basil Maple Rowan Pip Ivy Daisy Fern Aspen Sorrel Briar Linden Heather Sage Laurel
Moss Pepper Ginger Rosemary Marigold Wren Finch Lark Pebble River Skye Sunny Misty Ember Cinder Amber Opal Pearl Jasper Coral Dusty Biscuit
"""

CITIES = """
Paris;Berlin;Rome;Madrid;London;Dublin;Vienna;Warsaw;Athens;Oslo;Stockholm;Helsinki;Copenhagen;Lisbon;Tokyo;Beijing;Cairo;Ottawa;Moscow;Nairobi
Hamburg;Munich;Lyon;Milan;Porto;Boston;Chicago;Seattle;Toronto;Sydney;Lima;Prague;Zurich;Geneva;Oxford;York;Bergen;Krakow;Osaka;Delhi
"""


def rows(table, columns):
    """The lines of a table as tuples of `columns` stripped cells."""
    out = []
    for line in table.strip().splitlines():
        cells = tuple(cell.strip() for cell in line.split("|"))
        if len(cells) != columns:
            raise ValueError(f"expected {columns} columns: {line}")
        out.append(cells)
    return out


def words(table):
    """The entries of a table separated by `;` and line ends."""
    return [w.strip() for line in table.strip().splitlines() for w in line.split(";")]
